"""report.html: one page with the table, the charts, example images and the machine, which loads nothing else."""
