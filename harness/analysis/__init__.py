"""Tables in, tables out: what a log says. No drawing, no models."""
