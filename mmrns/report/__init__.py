"""What people read: tables, and later plots and the page of a run."""
