package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// proxy forwards requests (RFC 9112, absolute form) and makes tunnels (CONNECT). To it every host below .test is this
// machine, which nobody else knows. With a user ("name:password") it serves nobody else. It prints a line for each
// request: what it was asked for, or "refused" and that.
func proxy(address, user string) error {
	dial := func(ctx context.Context, network, to string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(to); err == nil && strings.HasSuffix(host, ".test") {
			to = net.JoinHostPort("127.0.0.1", port)
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
	transport := &http.Transport{DialContext: dial, DisableCompression: true}
	wanted := "Basic " + base64.StdEncoding.EncodeToString([]byte(user))
	handler := func(w http.ResponseWriter, r *http.Request) {
		asked := r.Method + " " + r.Host
		if r.Method != http.MethodConnect {
			asked = r.Method + " " + r.URL.String()
		}
		if user != "" && r.Header.Get("Proxy-Authorization") != wanted {
			fmt.Println("refused", asked)
			w.Header().Set("Proxy-Authenticate", "Basic")
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
			return
		}
		fmt.Println(asked)
		if r.Method == http.MethodConnect {
			tunnel(w, r, dial)
			return
		}
		if !r.URL.IsAbs() {
			http.Error(w, "this is a proxy", http.StatusBadRequest)
			return
		}
		r.Header.Del("Proxy-Authorization")
		r.RequestURI = ""
		response, err := transport.RoundTrip(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		for name, values := range response.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(listener, http.HandlerFunc(handler))
}

func tunnel(w http.ResponseWriter, r *http.Request, dial func(context.Context, string, string) (net.Conn, error)) {
	there, err := dial(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	here, buffered, err := hijacker.Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(there, buffered); done <- struct{}{} }()
	go func() { _, _ = io.Copy(here, there); done <- struct{}{} }()
	<-done
}
