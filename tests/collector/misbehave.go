package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// double takes profiles over gRPC as its mode says, and appends what it took to a file as the Collector's file
// exporter does. It prints a line for each call: "refused" or "took", and milliseconds since the first one.
//
//	silent                     never answers
//	unavailable:COUNT:SECONDS  answers the first COUNT calls with Unavailable and a pause, then takes them
//	exhausted:BYTES            answers ResourceExhausted to larger messages
//	invalid                    answers InvalidArgument
//	partial                    takes all, says that it rejected one
type double struct {
	pprofileotlp.UnimplementedGRPCServer
	mode  []string
	file  *os.File
	mutex sync.Mutex
	calls int
	first time.Time
}

func misbehave(mode, address, path string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	pprofileotlp.RegisterGRPCServer(server, &double{mode: strings.Split(mode, ":"), file: file})
	fmt.Println("ready")
	return server.Serve(listener)
}

func (r *double) argument(at int) int {
	if at >= len(r.mode) {
		return 0
	}
	number, _ := strconv.Atoi(r.mode[at])
	return number
}

func (r *double) Export(ctx context.Context, request pprofileotlp.ExportRequest) (pprofileotlp.ExportResponse, error) {
	response := pprofileotlp.NewExportResponse()
	bytes, err := request.MarshalProto()
	if err != nil {
		return response, err
	}
	r.mutex.Lock()
	r.calls++
	call := r.calls
	if call == 1 {
		r.first = time.Now()
	}
	since := time.Since(r.first).Milliseconds()
	r.mutex.Unlock()
	switch {
	case r.mode[0] == "silent":
		fmt.Println("refused", since, len(bytes))
		<-ctx.Done()
		return response, ctx.Err()
	case r.mode[0] == "unavailable" && call <= r.argument(1):
		fmt.Println("refused", since, len(bytes))
		pause := &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(r.argument(2)) * time.Second)}
		refusal, err := status.New(codes.Unavailable, "not now").WithDetails(pause)
		if err != nil {
			return response, err
		}
		return response, refusal.Err()
	case r.mode[0] == "exhausted" && len(bytes) > r.argument(1):
		fmt.Println("refused", since, len(bytes))
		return response, status.Errorf(codes.ResourceExhausted, "a message of %d bytes is too large", len(bytes))
	case r.mode[0] == "invalid":
		fmt.Println("refused", since, len(bytes))
		return response, status.Error(codes.InvalidArgument, "no such profiles here")
	case r.mode[0] == "partial":
		response.PartialSuccess().SetRejectedProfiles(1)
		response.PartialSuccess().SetErrorMessage("one was odd")
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	fmt.Println("took", since, len(bytes))
	return response, r.keep(request.Profiles())
}

func (r *double) keep(profiles pprofile.Profiles) error {
	bytes, err := (&pprofile.ProtoMarshaler{}).MarshalProfiles(profiles)
	if err != nil {
		return err
	}
	record := binary.BigEndian.AppendUint32(nil, uint32(len(bytes)))
	_, err = r.file.Write(append(record, bytes...))
	return err
}
