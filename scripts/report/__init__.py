"""The report of a study: report.json, figures and one HTML page, from predictions and what is known of the patients."""
