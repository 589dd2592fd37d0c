package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"

	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
)

// answers are what HTTP servers say to a message that they have stored. All but the last three are successes.
var answers = map[string]func(http.ResponseWriter){
	"json":     func(w http.ResponseWriter) { say(w, 200, "application/json", `{"partialSuccess":{}}`) },
	"rejected": func(w http.ResponseWriter) { say(w, 200, "application/json; charset=utf-8", rejected) },
	"empty":    func(w http.ResponseWriter) { w.WriteHeader(200) },
	"none":     func(w http.ResponseWriter) { w.WriteHeader(204) },
	"accepted": func(w http.ResponseWriter) { say(w, 202, "text/plain", "stored\n") },
	"gzip": func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip")
		say(w, 200, "application/json", packed(rejected))
	},
	"protobuf-gzip": func(w http.ResponseWriter) {
		response := pprofileotlp.NewExportResponse()
		response.PartialSuccess().SetErrorMessage("packed words")
		body, _ := response.MarshalProto()
		w.Header().Set("Content-Encoding", "gzip")
		say(w, 200, "application/x-protobuf", packed(string(body)))
	},
	"cut": func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		say(w, 200, "application/x-protobuf", "")
		panic(http.ErrAbortHandler)
	},
	"endless": func(w http.ResponseWriter) {
		w.WriteHeader(200)
		for {
			if _, err := w.Write(bytes.Repeat([]byte("\n"), 64<<10)); err != nil {
				return
			}
		}
	},
	"page": func(w http.ResponseWriter) { say(w, 200, "text/html", "<!doctype html><title>Log in</title>") },
	"login": func(w http.ResponseWriter) {
		w.Header().Set("Location", "https://login.test/")
		w.WriteHeader(302)
	},
	"invalid": func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip")
		say(w, 400, "application/json", packed(`{"code":3,"message":"no such profiles here"}`))
	},
}

const rejected = `{"partialSuccess":{"rejectedProfiles":"1","errorMessage":"one was odd"}}`

func say(w http.ResponseWriter, status int, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
}

func packed(text string) string {
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	_, _ = writer.Write([]byte(text))
	_ = writer.Close()
	return buffer.String()
}

// answer takes profiles over HTTP at /KIND/v1development/profiles for every kind of answer, and prints for each message
// the kind and its bytes, after it has decoded them.
func answer(address string) error {
	var mutex sync.Mutex
	for kind, answer := range answers {
		http.HandleFunc("POST /"+kind+"/v1development/profiles", func(w http.ResponseWriter, r *http.Request) {
			body, err := message(r)
			if err != nil {
				http.Error(w, err.Error(), 500)
				return
			}
			mutex.Lock()
			fmt.Println(kind, strconv.Itoa(body))
			mutex.Unlock()
			answer(w)
		})
	}
	fmt.Println("ready")
	return http.ListenAndServe(address, nil)
}

// message reads a request and returns its bytes.
func message(r *http.Request) (int, error) {
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			return 0, err
		}
		reader = unpacked
	}
	bytes, err := io.ReadAll(reader)
	if err != nil {
		return 0, err
	}
	if err := pprofileotlp.NewExportRequest().UnmarshalProto(bytes); err != nil {
		fmt.Fprintln(os.Stderr, "not a message:", err)
		return 0, err
	}
	return len(bytes), nil
}
