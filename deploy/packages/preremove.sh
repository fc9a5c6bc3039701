#!/bin/sh
set -e
# Not before an upgrade: the new package restarts it.
case "$1" in remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now sallyport.socket sallyport.service || true
	fi
	;;
esac
