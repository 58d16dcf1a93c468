"""Parts as child processes: started, watched by heartbeat, started again. Imports no room of widebeam."""
