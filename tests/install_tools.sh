#!/bin/sh
# Installs what the tests need besides Python packages, where it is missing: dciodvfy, which checks DICOM files, Chromium,
# which checks HTML reports, and R's pROC, which checks areas under ROC curves. Debian and Ubuntu.
set -eu
missing=""
command -v dciodvfy >/dev/null || missing="$missing dicom3tools"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing="$missing chromium"
Rscript -e 'quit(status = !requireNamespace("pROC", quietly = TRUE))' >/dev/null 2>&1 || missing="$missing r-cran-proc"
[ -n "$missing" ] || exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root apt-get install -y --no-install-recommends $missing
