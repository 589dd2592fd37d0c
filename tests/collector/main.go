// A small OpenTelemetry Collector for the tests of otlp-export, and what else they need of the other side.
//
//	collector serve --config FILE             the Collector: OTLP receiver, debug and file exporters
//	collector misbehave MODE ADDRESS FILE  an OTLP server that does what MODE says (misbehave.go)
//	collector answer ADDRESS                  an HTTP server that stores messages and says so in many ways (answer.go)
//	collector proxy ADDRESS [USER:PASSWORD]   an HTTP proxy (proxy.go)
//	collector certificates FOLDER             an authority, and what it signed for both sides (certificates.go)
//	collector read FILE                       what the file exporter wrote, checked (rules.go) and as JSON (read.go)
package main

import (
	"fmt"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func main() {
	arguments := os.Args[1:]
	var err error
	switch {
	case len(arguments) >= 1 && arguments[0] == "serve":
		err = serve(arguments[1:])
	case len(arguments) == 4 && arguments[0] == "misbehave":
		err = misbehave(arguments[1], arguments[2], arguments[3])
	case len(arguments) == 2 && arguments[0] == "answer":
		err = answer(arguments[1])
	case len(arguments) == 2 && arguments[0] == "proxy":
		err = proxy(arguments[1], "")
	case len(arguments) == 3 && arguments[0] == "proxy":
		err = proxy(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "certificates":
		err = certificates(arguments[1])
	case len(arguments) == 2 && arguments[0] == "read":
		err = read(arguments[1])
	default:
		err = fmt.Errorf("usage: collector serve --config FILE | misbehave MODE ADDRESS FILE | answer ADDRESS | proxy ADDRESS [USER] | certificates FOLDER | read FILE")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "collector:", err)
		os.Exit(1)
	}
}

// serve runs the Collector until it is told to end.
func serve(arguments []string) error {
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "collector", Description: "for tests", Version: "0"},
		Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
				DefaultScheme:     "file",
			},
		},
	})
	command.SetArgs(append([]string{"--feature-gates=service.profilesSupport"}, arguments...))
	return command.Execute()
}

func factories() (otelcol.Factories, error) {
	all := otelcol.Factories{Telemetry: otelconftelemetry.NewFactory()}
	var err error
	if all.Extensions, err = otelcol.MakeFactoryMap[extension.Factory](bearertokenauthextension.NewFactory()); err != nil {
		return all, err
	}
	if all.Receivers, err = otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory()); err != nil {
		return all, err
	}
	all.Exporters, err = otelcol.MakeFactoryMap[exporter.Factory](debugexporter.NewFactory(), fileexporter.NewFactory())
	return all, err
}
