"""What one run says: its log as arrays, its summary and its line. No drawing, no models."""
