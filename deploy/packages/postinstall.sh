#!/bin/sh
# Makes the account and gives it its folders. Nothing is started: the
# configuration as it comes lets nobody log in.
set -e
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers sallyport.conf >/dev/null 2>&1 || true
fi
if ! getent group sallyport >/dev/null; then groupadd --system sallyport; fi
if ! getent passwd sallyport >/dev/null; then
	useradd --system --gid sallyport --home-dir /var/lib/sallyport --no-create-home --shell /usr/sbin/nologin sallyport
fi
for d in /var/log/sallyport /var/lib/sallyport; do
	mkdir -p "$d"
	chown sallyport:sallyport "$d"
	chmod 0750 "$d"
done
mkdir -p /run/sallyport && chown sallyport:sallyport /run/sallyport && chmod 0750 /run/sallyport
chgrp sallyport /etc/sallyport /etc/sallyport/sallyport.yaml /etc/sallyport/policy.yaml
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	systemctl try-restart sallyport.service || true
fi
