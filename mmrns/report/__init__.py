"""What people read: tables, plots and the page of a run, or of several."""
