"""`bench report --html`: boards, tasks and encoders as a static site that opens from a folder, without a network.

Pages are HTML tables that are whole without a script; DataTables (out of the package itables) sorts, filters and pages
them, Plotly draws. Both are copied once into `assets/`. What keeps thousands of records usable:

* every board, task and encoder has a page of its own with only its own numbers, so that all but boards grow with the
  number of encoders or that of tasks, never with both; they are rendered one after another, and the full facts of one
  encoder's records are held at a time;
* tables show 25 rows at a time, the others are taken out of the document;
* of records, replicates and rows the site brings 500 MB at most; what stays behind is said, and where it lies;
* the chart library is loaded once a chart comes into view, and no chart is drawn before.
"""
