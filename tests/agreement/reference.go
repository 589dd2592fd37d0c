// Walks Go stacks by the table that Go's runtime itself walks by (runtime/symtab.go), from registers and copies of
// stacks.
//
//	reference-go PID < samples > chains
//
// In and out as reference.c. A walk is whole if it ends at a function of which the table says that nothing is below
// it; it is broken where a function moves to another stack, of which no copy is given.
package main

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/bits"
	"os"
	"sort"
)

const page = 4096

type table struct {
	text        uint64
	data        []byte
	pctab, pcln uint64
	flags       uint64
	functions   int
}

func load(name string) *table {
	file, err := elf.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	section := file.Section(".gopclntab")
	if section == nil {
		log.Fatal(name, ": no .gopclntab")
	}
	data, err := section.Data()
	if err != nil {
		log.Fatal(err)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	t := &table{data: data, text: u64(24), functions: int(u64(8)), pctab: u64(56), pcln: u64(64), flags: 41}
	switch binary.LittleEndian.Uint32(data) {
	case 0xfffffff1:
	case 0xfffffff0:
		t.flags = 37
	default:
		log.Fatal("a version of the table that is not known")
	}
	if t.text == 0 {
		t.text = file.Section(".text").Addr
	}
	return t
}

func (t *table) u32(at uint64) uint32 { return binary.LittleEndian.Uint32(t.data[at:]) }

// The bytes of stack that a function has taken at pc, and its flags.
func (t *table) at(pc uint64) (size int64, flags byte, ok bool) {
	if pc < t.text {
		return
	}
	offset := uint32(pc - t.text)
	index := sort.Search(t.functions+1, func(i int) bool { return t.u32(t.pcln+uint64(i)*8) > offset }) - 1
	if index < 0 || index >= t.functions {
		return
	}
	function := t.pcln + uint64(t.u32(t.pcln+uint64(index)*8+4))
	flags = t.data[function+t.flags]
	sizes := t.u32(function + 16)
	if sizes == 0 {
		return
	}
	rest := t.data[t.pctab+uint64(sizes):]
	at, value := t.text+uint64(t.u32(function)), int64(-1)
	for first := true; ; first = false {
		step, n := binary.Uvarint(rest)
		if n <= 0 || (step == 0 && !first) {
			return
		}
		rest = rest[n:]
		if step&1 != 0 {
			value -= int64(step>>1) + 1
		} else {
			value += int64(step >> 1)
		}
		length, n := binary.Uvarint(rest)
		rest = rest[n:]
		at += length
		if pc < at {
			return value, flags, true
		}
	}
}

type sample struct {
	PC                    uint64
	Registers             [16]uint64
	Start, Present, Bytes uint64
}

func (s *sample) word(stack []byte, address uint64) (uint64, bool) {
	number := (address - s.Start) / page
	if address < s.Start || address%8 != 0 || number >= 64 || s.Present>>number&1 == 0 {
		return 0, false
	}
	at := uint64(bits.OnesCount64(s.Present&(1<<number-1)))*page + address%page
	if at+8 > uint64(len(stack)) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(stack[at:]), true
}

func walk(t *table, s *sample, stack []byte) (whole bool, chain []uint64) {
	pc, sp := s.PC, s.Registers[7]
	for exact := true; len(chain) < 400; exact = false {
		chain = append(chain, pc)
		look := pc
		if !exact {
			look--
		}
		size, flags, ok := t.at(look)
		if flags&1 != 0 {
			return true, chain
		}
		if !ok || flags&2 != 0 {
			return false, chain
		}
		sp += uint64(size)
		if pc, ok = s.word(stack, sp); !ok {
			return false, chain
		}
		sp += 8
	}
	return false, chain
}

func main() {
	t := load("/proc/" + os.Args[1] + "/exe")
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		var s sample
		if err := binary.Read(in, binary.NativeEndian, &s); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		stack := make([]byte, s.Bytes)
		if _, err := io.ReadFull(in, stack); err != nil {
			log.Fatal(err)
		}
		whole, chain := walk(t, &s, stack)
		fmt.Fprint(out, map[bool]string{true: "whole", false: "broken"}[whole])
		for _, pc := range chain {
			fmt.Fprintf(out, " %x", pc)
		}
		fmt.Fprintln(out)
	}
}
