#!/bin/bash
# Unpack the environment ARCHIVE to FOLDER on this node's local disk, unless it is there: unpack_environment.sh ARCHIVE FOLDER
# Jobs that start at the same time wait for the first one. FOLDER appears and disappears as a whole.
set -euo pipefail
archive=$1 folder=$2
if [ -e "$folder" ] && [ ! -e "$folder/.unpacked" ]; then
    exit 0 # it was installed here
fi
if [ ! -r "$archive" ]; then
    echo "environment: $archive cannot be read on $(hostname). Put it on the shared file system." >&2
    exit 1
fi
mkdir -p "$(dirname "$folder")"
if [ ! -O "$(dirname "$folder")" ]; then
    echo "$(dirname "$folder") belongs to another user. Install the environment in a folder of your own." >&2
    exit 1
fi
exec 9> "$folder.lock"
flock 9
version=$(stat -L -c '%s %Y' "$archive")
if [ "$(cat "$folder/.unpacked" 2> /dev/null)" = "$version" ]; then
    exit 0
fi
rm -rf "$folder.new" "$folder.old"
mkdir "$folder.new"
tar -xf "$archive" -C "$folder.new"
echo "$version" > "$folder.new/.unpacked"
if [ -e "$folder" ]; then
    mv "$folder" "$folder.old"
fi
mv "$folder.new" "$folder"
rm -rf "$folder.old"
