"""`widebeam init`: what a database holds, which of it is narrow, and a connector file that says so."""
