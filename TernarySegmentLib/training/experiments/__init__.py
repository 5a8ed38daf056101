"""What produced a figure or a table in docs/, not what makes the weights."""
