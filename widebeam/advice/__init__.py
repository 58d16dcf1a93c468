"""What stands in nobody's way, and costs time, disk or readings. May import check and what check imports."""
