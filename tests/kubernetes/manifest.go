package main

import (
	"bytes"
	"fmt"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// What is in a manifest.
type objects struct {
	Kinds  []string          `json:"kinds"`
	Config map[string]string `json:"config"`
	Pod    core.PodSpec      `json:"pod"`
}

// Decodes every document into the type that it names; a key that the type does not have is an error.
func manifest(text []byte) (*objects, error) {
	var all objects
	for number, document := range bytes.Split(text, []byte("\n---\n")) {
		var kind struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, fmt.Errorf("document %d: %w", number, err)
		}
		var into any
		var daemons apps.DaemonSet
		var config core.ConfigMap
		switch kind.APIVersion + " " + kind.Kind {
		case "v1 Namespace":
			into = &core.Namespace{}
		case "v1 ServiceAccount":
			into = &core.ServiceAccount{}
		case "v1 ConfigMap":
			into = &config
		case "apps/v1 DaemonSet":
			into = &daemons
		default:
			return nil, fmt.Errorf("document %d: no type for %q", number, kind.APIVersion+" "+kind.Kind)
		}
		if err := yaml.UnmarshalStrict(document, into); err != nil {
			return nil, fmt.Errorf("document %d, %s: %w", number, kind.Kind, err)
		}
		all.Kinds = append(all.Kinds, kind.Kind)
		if kind.Kind == "ConfigMap" {
			all.Config = config.Data
		}
		if kind.Kind == "DaemonSet" {
			all.Pod = daemons.Spec.Template.Spec
		}
	}
	return &all, nil
}
