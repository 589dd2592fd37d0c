package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	profiles "go.opentelemetry.io/proto/otlp/profiles/v1development"
	"google.golang.org/protobuf/proto"
)

// report is what a test wants to know of a file of messages.
type report struct {
	// What is against the rules of OTLP, a sentence each.
	Problems []string `json:"problems"`
	Messages int      `json:"messages"`
	Profiles []found  `json:"profiles"`
}

type found struct {
	ID string `json:"id"`
	// SHA-256 of the whole message that it came in.
	Message    string         `json:"message"`
	Resource   map[string]any `json:"resource"`
	Attributes map[string]any `json:"attributes"`
	SampleType string         `json:"sample_type"`
	PeriodType string         `json:"period_type"`
	Period     int64          `json:"period"`
	Start      uint64         `json:"start"`
	Duration   uint64         `json:"duration"`
	Samples    int64          `json:"samples"`
	// Nanoseconds, where that is what values are.
	CpuTime int64   `json:"cpu_time"`
	Stacks  []stack `json:"stacks"`
}

type stack struct {
	// From the root.
	Frames     []frame        `json:"frames"`
	Count      int64          `json:"count"`
	CpuTime    int64          `json:"cpu_time"`
	Times      int            `json:"times"`
	Attributes map[string]any `json:"attributes"`
}

type frame struct {
	Type string `json:"type"`
	// Empty if it has none.
	Name    string         `json:"name"`
	Address uint64         `json:"address"`
	File    string         `json:"file"`
	Mapping map[string]any `json:"mapping"`
}

// read decodes what the file exporter wrote in its format "proto": messages, each behind its length. The decoder is
// the one that protoc makes of OpenTelemetry's files, not the Collector's own.
func read(path string) error {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	all := report{Problems: []string{}, Profiles: []found{}}
	for len(bytes) > 0 {
		if len(bytes) < 4 || len(bytes)-4 < int(binary.BigEndian.Uint32(bytes)) {
			// The Collector was killed while it wrote.
			break
		}
		length := int(binary.BigEndian.Uint32(bytes))
		var data profiles.ProfilesData
		if err := proto.Unmarshal(bytes[4:4+length], &data); err != nil {
			return fmt.Errorf("message %d: %w", all.Messages, err)
		}
		sum := sha256.Sum256(bytes[4 : 4+length])
		all.add(&data, hex.EncodeToString(sum[:]))
		bytes = bytes[4+length:]
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

func (all *report) add(data *profiles.ProfilesData, sum string) {
	message := fmt.Sprintf("message %d: ", all.Messages)
	all.Messages++
	for _, problem := range problems(data) {
		all.Problems = append(all.Problems, message+problem)
	}
	if len(all.Problems) > 0 {
		return
	}
	dictionary := data.Dictionary
	text := func(at int32) string { return dictionary.StringTable[at] }
	for _, resource := range data.ResourceProfiles {
		attributes := map[string]any{}
		for _, pair := range resource.GetResource().GetAttributes() {
			attributes[keyOf(dictionary, pair)] = plain(dictionary, pair.Value)
		}
		for _, scope := range resource.ScopeProfiles {
			for _, profile := range scope.Profiles {
				kind := func(it *profiles.ValueType) string {
					return text(it.GetTypeStrindex()) + "/" + text(it.GetUnitStrindex())
				}
				one := found{
					ID: hex.EncodeToString(profile.ProfileId), Message: sum, Resource: attributes,
					Attributes: named(dictionary, profile.AttributeIndices),
					SampleType: kind(profile.SampleType), PeriodType: kind(profile.PeriodType), Period: profile.Period,
					Start: profile.TimeUnixNano, Duration: profile.DurationNano, Stacks: []stack{},
				}
				for _, sample := range profile.Samples {
					found := unfolded(dictionary, sample)
					// Where values are CPU time each time is one sample; without times only their sum is known.
					if one.SampleType != "samples/count" {
						found.CpuTime, found.Count = found.Count, int64(found.Times)
					}
					one.Samples += found.Count
					one.CpuTime += found.CpuTime
					one.Stacks = append(one.Stacks, found)
				}
				all.Profiles = append(all.Profiles, one)
			}
		}
	}
}

func unfolded(dictionary *profiles.ProfilesDictionary, sample *profiles.Sample) stack {
	one := stack{Frames: []frame{}, Times: len(sample.TimestampsUnixNano)}
	one.Attributes = named(dictionary, sample.AttributeIndices)
	// Without values each time stands for one.
	one.Count = int64(len(sample.TimestampsUnixNano))
	if len(sample.Values) > 0 {
		one.Count = 0
	}
	for _, value := range sample.Values {
		one.Count += value
	}
	indices := dictionary.StackTable[sample.StackIndex].LocationIndices
	for at := len(indices) - 1; at >= 0; at-- {
		location := dictionary.LocationTable[indices[at]]
		mapping := dictionary.MappingTable[location.MappingIndex]
		place := frame{
			Type:    fmt.Sprint(named(dictionary, location.AttributeIndices)["profile.frame.type"]),
			Address: location.Address, File: dictionary.StringTable[mapping.FilenameStrindex],
			Mapping: named(dictionary, mapping.AttributeIndices),
		}
		if len(location.Lines) == 0 {
			one.Frames = append(one.Frames, place)
		}
		// The caller is the last line.
		for line := len(location.Lines) - 1; line >= 0; line-- {
			function := dictionary.FunctionTable[location.Lines[line].FunctionIndex]
			place.Name = dictionary.StringTable[function.NameStrindex]
			one.Frames = append(one.Frames, place)
		}
	}
	return one
}

func named(dictionary *profiles.ProfilesDictionary, indices []int32) map[string]any {
	attributes := map[string]any{}
	for _, index := range indices {
		pair := dictionary.AttributeTable[index]
		attributes[dictionary.StringTable[pair.KeyStrindex]] = plain(dictionary, pair.Value)
	}
	return attributes
}

// keyOf is an attribute's key: the Collector writes those of resources as indices, we as text.
func keyOf(dictionary *profiles.ProfilesDictionary, pair *common.KeyValue) string {
	if at := pair.KeyStrindex; pair.Key == "" && at > 0 && int(at) < len(dictionary.StringTable) {
		return dictionary.StringTable[at]
	}
	return pair.Key
}

func plain(dictionary *profiles.ProfilesDictionary, value *common.AnyValue) any {
	switch value := value.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return value.StringValue
	case *common.AnyValue_IntValue:
		return value.IntValue
	case *common.AnyValue_StringValueStrindex:
		return dictionary.StringTable[value.StringValueStrindex]
	case *common.AnyValue_BoolValue:
		return value.BoolValue
	}
	return strings.TrimSpace(value.String())
}
