package main

import (
	"fmt"
	"sort"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	profiles "go.opentelemetry.io/proto/otlp/profiles/v1development"
	"google.golang.org/protobuf/proto"
)

// problems finds what is against the rules that profiles.proto states in its comments: row 0 of each table is the
// zero value, indices lead somewhere, nothing stands in a table twice or without being referred to, times lie in
// the profile's interval, the samples of a profile have one shape.
func problems(data *profiles.ProfilesData) []string {
	dictionary := data.GetDictionary()
	if dictionary == nil {
		return []string{"there is no dictionary"}
	}
	check := checker{tables: map[string]*table{}}
	addTable(&check, "strings", dictionary.StringTable, func(it string) string { return it })
	addTable(&check, "attributes", dictionary.AttributeTable, attribute)
	addTable(&check, "functions", dictionary.FunctionTable, encoded)
	addTable(&check, "mappings", dictionary.MappingTable, encoded)
	addTable(&check, "locations", dictionary.LocationTable, encoded)
	addTable(&check, "links", dictionary.LinkTable, encoded)
	addTable(&check, "stacks", dictionary.StackTable, encoded)
	if len(check.found) > 0 {
		return check.found
	}
	for _, resource := range data.ResourceProfiles {
		keys := map[string]bool{}
		for _, pair := range resource.GetResource().GetAttributes() {
			check.use("strings", pair.KeyStrindex)
			if value, refers := pair.Value.GetValue().(*common.AnyValue_StringValueStrindex); refers {
				check.use("strings", value.StringValueStrindex)
			}
			key := keyOf(dictionary, pair)
			if keys[key] || key == "" {
				check.say("a resource has the attribute %q twice, or without a name", key)
			}
			keys[key] = true
		}
		if len(resource.ScopeProfiles) == 0 {
			check.say("a resource has no scope")
		}
		for _, scope := range resource.ScopeProfiles {
			if len(scope.Profiles) == 0 {
				check.say("a scope has no profile")
			}
			for _, profile := range scope.Profiles {
				check.profile(dictionary, profile)
			}
		}
	}
	check.dictionary(dictionary)
	for name, table := range check.tables {
		for row, used := range table.used {
			if !used && row > 0 {
				check.say("nothing refers to row %d of the %s", row, name)
			}
		}
	}
	sort.Strings(check.found)
	return check.found
}

type table struct{ used []bool }

type checker struct {
	tables map[string]*table
	found  []string
}

func (c *checker) say(format string, arguments ...any) {
	c.found = append(c.found, fmt.Sprintf(format, arguments...))
}

func encoded[M proto.Message](row M) string {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(row)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// attribute is the same whether a value that is none is left out or empty: the Collector writes an empty one.
func attribute(row *profiles.KeyValueAndUnit) string {
	if row.Value.GetValue() == nil {
		row = &profiles.KeyValueAndUnit{KeyStrindex: row.KeyStrindex, UnitStrindex: row.UnitStrindex}
	}
	return encoded(row)
}

func addTable[R any](c *checker, name string, rows []R, content func(R) string) {
	known := map[string]int{}
	for at, row := range rows {
		text := content(row)
		if before, twice := known[text]; twice {
			c.say("rows %d and %d of the %s are the same", before, at, name)
		}
		known[text] = at
	}
	// What is encoded without a byte has every field at zero.
	if at, there := known[""]; !there || at != 0 {
		c.say("row 0 of the %s is not the zero value", name)
	}
	c.tables[name] = &table{used: make([]bool, len(rows))}
}

func (c *checker) use(name string, index int32) {
	used := c.tables[name].used
	if index < 0 || int(index) >= len(used) {
		c.say("index %d of the %s, which have %d rows", index, name, len(used))
		return
	}
	used[index] = true
}

func (c *checker) attributes(dictionary *profiles.ProfilesDictionary, indices []int32) {
	keys := map[int32]bool{}
	for _, index := range indices {
		c.use("attributes", index)
		if index <= 0 || int(index) >= len(dictionary.AttributeTable) {
			continue
		}
		key := dictionary.AttributeTable[index].KeyStrindex
		if keys[key] {
			c.say("an attribute is there twice: row %d", index)
		}
		keys[key] = true
	}
}

func (c *checker) profile(dictionary *profiles.ProfilesDictionary, profile *profiles.Profile) {
	if id := profile.ProfileId; len(id) != 16 || string(id) == string(make([]byte, 16)) {
		c.say("a profile's id is %x", id)
	}
	for _, kind := range []*profiles.ValueType{profile.SampleType, profile.PeriodType} {
		c.use("strings", kind.GetTypeStrindex())
		c.use("strings", kind.GetUnitStrindex())
	}
	c.attributes(dictionary, profile.AttributeIndices)
	shapes := map[[2]bool]bool{}
	for _, sample := range profile.Samples {
		c.use("stacks", sample.StackIndex)
		c.use("links", sample.LinkIndex)
		c.attributes(dictionary, sample.AttributeIndices)
		values, times := len(sample.Values), len(sample.TimestampsUnixNano)
		shapes[[2]bool{values > 0, times > 0}] = true
		if values == 0 && times == 0 || values > 0 && times > 0 && values != times || values > 1 && times == 0 {
			c.say("a sample has %d values and %d times", values, times)
		}
		for _, time := range sample.TimestampsUnixNano {
			if time < profile.TimeUnixNano || time >= profile.TimeUnixNano+profile.DurationNano {
				c.say("time %d lies outside of the profile, %d + %d", time, profile.TimeUnixNano, profile.DurationNano)
			}
		}
	}
	if len(shapes) > 1 {
		c.say("the samples of a profile have %d shapes", len(shapes))
	}
}

func (c *checker) dictionary(dictionary *profiles.ProfilesDictionary) {
	for _, stack := range dictionary.StackTable {
		for _, index := range stack.LocationIndices {
			c.use("locations", index)
		}
	}
	for _, location := range dictionary.LocationTable {
		c.use("mappings", location.MappingIndex)
		c.attributes(dictionary, location.AttributeIndices)
		for _, line := range location.Lines {
			c.use("functions", line.FunctionIndex)
			if line.Line < 0 || line.Column < 0 {
				c.say("line %d, column %d", line.Line, line.Column)
			}
		}
	}
	for _, mapping := range dictionary.MappingTable {
		c.use("strings", mapping.FilenameStrindex)
		c.attributes(dictionary, mapping.AttributeIndices)
		if mapping.MemoryStart >= mapping.MemoryLimit && (mapping.MemoryStart != 0 || mapping.MemoryLimit != 0) {
			c.say("a mapping from %#x to %#x", mapping.MemoryStart, mapping.MemoryLimit)
		}
	}
	for _, function := range dictionary.FunctionTable {
		c.use("strings", function.NameStrindex)
		c.use("strings", function.SystemNameStrindex)
		c.use("strings", function.FilenameStrindex)
	}
	for _, attribute := range dictionary.AttributeTable {
		c.use("strings", attribute.KeyStrindex)
		c.use("strings", attribute.UnitStrindex)
	}
}
