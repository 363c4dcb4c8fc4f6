"""What is written and read on the disk: whole, regular, and ours."""

__all__ = ["csv_file", "json_file", "kept", "lock", "own_files", "place", "regular", "whole"]
