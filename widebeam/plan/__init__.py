"""`widebeam plan`: which wide tables a connector comes to, with the evidence, before anything is made."""
