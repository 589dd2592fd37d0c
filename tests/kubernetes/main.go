package main
import ( _ "k8s.io/api/apps/v1"; _ "sigs.k8s.io/yaml"; _ "github.com/moby/buildkit/frontend/dockerfile/instructions"; _ "github.com/moby/buildkit/frontend/dockerfile/parser")
func main(){}
