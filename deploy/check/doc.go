// Package check holds tests of what is in deploy: manifests against Kubernetes'
// own types, the chart through Helm's own library, alerts and dashboards through
// Prometheus' own parser. It is a module by itself so that weir needs none of
// these to be built.
package check
