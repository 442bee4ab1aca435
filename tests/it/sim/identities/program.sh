#!/bin/sh
# A credential helper, or a plugin of the kubelet, for the scenarios: links lead here from folders whose files say
# what it does. It keeps there what it was asked, and how often it was run.
cd "${0%/*}" || exit
cat > asked
echo >> runs
. ./mode
