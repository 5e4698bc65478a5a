#!/bin/sh
# Install everything that an image needs, for Dockerfile and hra.def, after they have copied the workflow to /opt/hra.
set -eu
apt-get update
# gcc and Python's headers are for Triton, git for the commit in the records, bubblewrap for programs written by models.
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    bubblewrap ca-certificates gcc git libc6-dev make python3-dev python3-venv
rm -rf /var/lib/apt/lists/*
# Not in /opt/hra: a workflow folder with this path on the host would hide the image's.
PIP_NO_CACHE_DIR=1 make -C /opt/hra install VENV=/opt/venv
