// Package check tests what is deployed: charts and manifests as Kubernetes reads
// them, alert rules and dashboard as Prometheus does, units and packages as
// systemd and dpkg do. It is a module of its own, since the product needs none
// of the libraries. "make test-deploy" brings the programs that it runs.
package check
