package main

import (
	"bytes"
	"fmt"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

type stage struct {
	Name  string   `json:"name"`
	Base  string   `json:"base"`
	Steps []string `json:"steps"`
}

// Every step as BuildKit understands it; one that it does not, or of which it warns, is an error.
func containerfile(text []byte) ([]stage, error) {
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	for _, warning := range parsed.Warnings {
		return nil, fmt.Errorf("%s", warning.Short)
	}
	read, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, err
	}
	var stages []stage
	for _, from := range read {
		one := stage{Name: from.Name, Base: from.BaseName}
		for _, command := range from.Commands {
			one.Steps = append(one.Steps, fmt.Sprint(command))
		}
		stages = append(stages, one)
	}
	return stages, nil
}
