module stacksonde/tests/kubernetes

go 1.24.0

require (
	github.com/moby/buildkit v0.25.2 // indirect
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	k8s.io/api v0.34.2 // indirect
	k8s.io/apimachinery v0.34.2 // indirect
	sigs.k8s.io/yaml v1.6.0 // indirect
)
