"""What systemd and whoever asks over HTTP are told of a run. May import config, status and process."""
