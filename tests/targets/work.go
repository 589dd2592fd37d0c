// What a program does: allocation and its collection, maps, sorting, JSON, regular expressions, hashes, channels.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"regexp"
	"sort"
	"strings"
)

type node struct {
	left, right *node
	value       int
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{value: 1}
	}
	return &node{tree(depth - 1), tree(depth - 1), depth}
}

func (n *node) sum() int {
	if n == nil {
		return 0
	}
	return n.value + n.left.sum() + n.right.sum()
}

func work() int {
	total := tree(14).sum()
	words := strings.Fields(strings.Repeat("the quick brown fox jumps over the lazy dog ", 200))
	sort.Strings(words)
	counts := map[string]int{}
	for _, word := range words {
		counts[word]++
	}
	text, _ := json.Marshal(counts)
	var back map[string]int
	_ = json.Unmarshal(text, &back)
	total += len(regexp.MustCompile(`o\w+`).FindAllString(string(text), -1))
	sum := sha256.Sum256(text)
	return total + int(sum[0]) + len(back)
}

func main() {
	results := make(chan int, 16)
	for i := 0; i < 4; i++ {
		go func() {
			for {
				results <- work()
			}
		}()
	}
	total := 0
	for result := range results {
		total += result
	}
}
