// Imports three poems, watches the job to its end, searches, and shows what an error carries.
//
// ARRW_ADDRESS says where the gateway is, ARRW_API_KEY who calls, ARRW_TLS_CA_FILE turns TLS on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	arrwdb "example.com/arrwdb/gen/arrwdb/v1"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(explain(err))
	}
}

func run(ctx context.Context) error {
	conn, err := connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	jobs := arrwdb.NewJobServiceClient(conn)
	libraries := arrwdb.NewLibraryServiceClient(conn)
	// Bounds all but the watch, which takes as long as the job.
	short, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	created, err := libraries.CreateLibrary(short, &arrwdb.CreateLibraryRequest{})
	if err != nil {
		return err
	}
	library := created.Library.LibraryId

	submitted, err := importDocuments(short, jobs, library)
	if err != nil {
		return err
	}
	fmt.Printf("job %s imports into library %s\n", submitted.JobId, library)

	job, err := watch(ctx, jobs, submitted.JobId)
	if err != nil {
		return err
	}
	if job.Status != arrwdb.JobStatus_JOB_STATUS_COMPLETED {
		return fmt.Errorf("the job did not complete: %s %s", job.Error.GetCode(), job.Error.GetMessage())
	}
	fmt.Printf("%d documents imported\n", job.Result.GetBatchImport().GetImported())

	found, err := libraries.Search(short, &arrwdb.SearchRequest{
		LibraryId:   library,
		Query:       &arrwdb.SearchRequest_Text{Text: "a tyger in the night"},
		K:           1,
		IncludeText: true,
	})
	if err != nil {
		return err
	}
	for _, hit := range found.Hits {
		fmt.Printf("%.3f  %s: %s\n", hit.Score, hit.Title, hit.Text)
	}

	if _, err := libraries.Search(short, &arrwdb.SearchRequest{LibraryId: library, K: -1}); err != nil {
		fmt.Println(explain(err))
	}
	_, err = libraries.DeleteLibrary(short, &arrwdb.DeleteLibraryRequest{LibraryId: library})
	return err
}

func connect() (*grpc.ClientConn, error) {
	address := os.Getenv("ARRW_ADDRESS")
	if address == "" {
		address = "127.0.0.1:50051"
	}
	creds := insecure.NewCredentials()
	caFile := os.Getenv("ARRW_TLS_CA_FILE")
	if caFile != "" {
		var err error
		if creds, err = credentials.NewClientTLSFromFile(caFile, ""); err != nil {
			return nil, err
		}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	if key := os.Getenv("ARRW_API_KEY"); key != "" {
		options = append(options, grpc.WithPerRPCCredentials(apiKey{key: key, overTLS: caFile != ""}))
	}
	return grpc.NewClient(address, options...)
}

// apiKey names the caller on every call.
type apiKey struct {
	key     string
	overTLS bool
}

func (k apiKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + k.key}, nil
}

// RequireTransportSecurity is false only where there is no TLS at all, on loopback.
func (k apiKey) RequireTransportSecurity() bool { return k.overTLS }

// importDocuments sends one header, then the documents; any number of them, as they are made.
func importDocuments(ctx context.Context, jobs arrwdb.JobServiceClient, library string) (*arrwdb.Job, error) {
	stream, err := jobs.ImportDocuments(ctx)
	if err != nil {
		return nil, err
	}
	// Sent again with the same request id it is still one job.
	header := &arrwdb.SubmitJobRequest{LibraryId: library, RequestId: fmt.Sprintf("poems-%d", time.Now().UnixNano())}
	requests := []*arrwdb.ImportDocumentsRequest{{Message: &arrwdb.ImportDocumentsRequest_Header{Header: header}}}
	for _, document := range poems() {
		message := &arrwdb.ImportDocumentsRequest_Document{Document: document}
		requests = append(requests, &arrwdb.ImportDocumentsRequest{Message: message})
	}
	for _, request := range requests {
		// EOF says that the server has answered already: CloseAndRecv has why.
		if err := stream.Send(request); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	response, err := stream.CloseAndRecv()
	return response.GetJob(), err
}

// watch follows the job until the stream ends, after its last state. Broken off, it goes on behind the last revision.
func watch(ctx context.Context, jobs arrwdb.JobServiceClient, id string) (*arrwdb.Job, error) {
	var job *arrwdb.Job
	for {
		stream, err := jobs.WatchJob(ctx, &arrwdb.WatchJobRequest{JobId: id, AfterRevision: job.GetRevision()})
		for err == nil {
			var update *arrwdb.WatchJobResponse
			if update, err = stream.Recv(); err != nil {
				break
			}
			job = update.Job
			name := strings.ToLower(strings.TrimPrefix(job.Status.String(), "JOB_STATUS_"))
			fmt.Printf("  %s, %d of %d documents\n", name, job.Progress.GetCurrent(), job.Progress.GetTotal())
		}
		if errors.Is(err, io.EOF) {
			return job, nil
		}
		if status.Code(err) != codes.Unavailable {
			return nil, err
		}
		time.Sleep(time.Second)
	}
}

// explain gives an error's code and message, and the google.rpc details that the gateway gives it.
func explain(err error) string {
	state := status.Convert(err)
	lines := []string{fmt.Sprintf("%s: %s", state.Code(), state.Message())}
	for _, detail := range state.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			lines = append(lines, "  reason "+detail.Reason)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				lines = append(lines, fmt.Sprintf("  %s: %s", violation.Field, violation.Description))
			}
		}
	}
	return strings.Join(lines, "\n")
}

func poems() []*arrwdb.Document {
	year := &structpb.Struct{Fields: map[string]*structpb.Value{"year": structpb.NewNumberValue(1794)}}
	return []*arrwdb.Document{
		{
			DocumentId: "sonnet-18",
			Title:      "Sonnet 18",
			Author:     "William Shakespeare",
			Texts:      []string{"Shall I compare thee to a summer's day? Thou art more lovely and more temperate."},
		},
		{
			DocumentId: "the-tyger",
			Title:      "The Tyger",
			Author:     "William Blake",
			Texts:      []string{"Tyger Tyger, burning bright, in the forests of the night."},
			Metadata:   year,
		},
		{
			DocumentId: "the-lamb",
			Title:      "The Lamb",
			Author:     "William Blake",
			Texts:      []string{"Little Lamb who made thee, dost thou know who made thee?"},
		},
	}
}
