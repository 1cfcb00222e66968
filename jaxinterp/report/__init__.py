"""Figures and the HTML page of a run."""

from jaxinterp.report.figure import kernel_figure
from jaxinterp.report.page import MOST_JOBS, write_report
from jaxinterp.report.views import JobView, MapView, ReportHead, Table, TableRow

__all__ = [
    "MOST_JOBS",
    "JobView",
    "MapView",
    "ReportHead",
    "Table",
    "TableRow",
    "kernel_figure",
    "write_report",
]
