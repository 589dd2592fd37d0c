// Reads what packaging/kubernetes holds by the code that Kubernetes and BuildKit read it with, refuses what they do not
// know, and prints as JSON what the tests want to know of it.
//
//	kubernetes manifest FILE        objects, the container's security context, the config
//	kubernetes containerfile FILE   stages and their steps
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: kubernetes manifest|containerfile FILE"))
	}
	bytes, err := os.ReadFile(os.Args[2])
	if err != nil {
		fail(err)
	}
	var answer any
	switch os.Args[1] {
	case "manifest":
		answer, err = manifest(bytes)
	case "containerfile":
		answer, err = containerfile(bytes)
	default:
		err = fmt.Errorf("no question %q", os.Args[1])
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "%v\n", err)
	os.Exit(1)
}
