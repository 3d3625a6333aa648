// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clouds writes an audit log as clouds export it, by the shapes that they document, so
// that what reads exports is tried on whole logs.
package clouds

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// GKE is the name of the export that has no Event in it, and so not all that a log tells.
const GKE = "GKE, sink to Cloud Storage"

// batch is how many Events a cloud sends at once, where it does.
const batch = 20

// event is what is read of an Event of kube-apiserver.
type event struct {
	AuditID, Stage, Verb, UserAgent, RequestReceivedTimestamp string

	User           struct{ Username string }
	SourceIPs      []string
	ObjectRef      *struct{ Resource, Namespace, Name, APIGroup, APIVersion, Subresource string }
	ResponseStatus struct{ Code int }
	Annotations    map[string]string

	// text of it, as kube-apiserver wrote it.
	text string
}

// Exports of a log that has one Event to a line, by how they are called.
func Exports(t testing.TB, log []byte) map[string][]byte {
	t.Helper()
	var events []event
	for line := range bytes.Lines(log) {
		e := event{text: string(bytes.TrimSpace(line))}
		if e.text == "" {
			continue
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return map[string][]byte{
		"EKS, filter-log-events":                 filtered(t, events),
		"EKS, subscription, one after the other": batches(t, events, "", subscribed),
		"EKS, subscription, one to a line":       batches(t, events, "\n", subscribed),
		"EKS, export to S3":                      each(events, func(e event) string { return e.RequestReceivedTimestamp + " " + e.text }),
		"AKS, event hub":                         batches(t, events, "\n", diagnosed),
		"AKS, storage account":                   each(events, func(e event) string { return text(t, record(e)) }),
		GKE:                                      each(events, func(e event) string { return entry(t, e) }),
	}
}

// each Event in a line of its own, unless that is empty.
func each(events []event, line func(event) string) []byte {
	var out strings.Builder
	for _, e := range events {
		if text := line(e); text != "" {
			out.WriteString(text + "\n")
		}
	}
	return []byte(out.String())
}

// batches of Events, with something after each.
func batches(t testing.TB, events []event, after string, of func([]event) any) []byte {
	t.Helper()
	var out strings.Builder
	for some := range slices.Chunk(events, batch) {
		out.WriteString(text(t, of(some)) + after)
	}
	return []byte(out.String())
}

type object = map[string]any

// filtered is what `aws logs filter-log-events` prints.
func filtered(t testing.TB, events []event) []byte {
	t.Helper()
	messages := make([]object, 0, len(events))
	for _, e := range events {
		messages = append(messages, object{
			"logStreamName": "kube-apiserver-audit-1", "timestamp": 1, "message": e.text, "ingestionTime": 1, "eventId": e.AuditID,
		})
	}
	out, err := json.MarshalIndent(object{"events": messages, "searchedLogStreams": []string{}}, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// subscribed is a message to who subscribed to a log group. Firehose puts one after the other
// into a file, with nothing in between.
func subscribed(events []event) any {
	messages := make([]object, 0, len(events))
	for _, e := range events {
		messages = append(messages, object{"id": e.AuditID, "timestamp": 1, "message": e.text})
	}
	return object{
		"messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "/aws/eks/prod/cluster", "logStream": "kube-apiserver-audit-1",
		"subscriptionFilters": []string{"all"}, "logEvents": messages,
	}
}

// diagnosed is a message of a diagnostic setting of Azure.
func diagnosed(events []event) any {
	records := make([]any, 0, len(events))
	for _, e := range events {
		records = append(records, record(e))
	}
	return object{"records": records}
}

// record of a diagnostic setting of Azure.
func record(e event) any {
	return object{
		"category": "kube-audit", "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
		"time": e.RequestReceivedTimestamp, "resourceId": "/SUBSCRIPTIONS/1",
		"properties": object{"containerID": "1", "log": e.text + "\n", "pod": "kube-apiserver-1", "stream": "stdout"},
	}
}

// rpcCodes are the codes of gRPC that stand for answers of HTTP, see google.rpc.Code.
var rpcCodes = map[int]int{
	http.StatusBadRequest: 3, http.StatusUnprocessableEntity: 3, http.StatusNotFound: 5, http.StatusConflict: 6, http.StatusForbidden: 7,
	http.StatusTooManyRequests: 8, http.StatusInternalServerError: 13, http.StatusUnauthorized: 16,
}

// entry of Cloud Logging for a call that is over; empty if it was for no resource.
func entry(t testing.TB, e event) string {
	t.Helper()
	o := e.ObjectRef
	if e.Stage != "ResponseComplete" || o == nil {
		return ""
	}
	group, version := cmp.Or(o.APIGroup, "core"), cmp.Or(o.APIVersion, "v1")
	domain := strings.Split(group, ".")
	if len(domain) == 1 {
		domain = append(domain, "k8s", "io")
	}
	slices.Reverse(domain)
	name := []string{group, version}
	if o.Namespace != "" {
		name = append(name, "namespaces", o.Namespace)
	}
	kind := []string{version, o.Resource, o.Subresource, e.Verb}
	name = append(name, o.Resource, o.Name, o.Subresource)
	present := func(parts []string) []string { return slices.DeleteFunc(parts, func(s string) bool { return s == "" }) }
	return text(t, object{
		"insertId": e.AuditID, "timestamp": e.RequestReceivedTimestamp, "labels": e.Annotations,
		"logName": "projects/p/logs/cloudaudit.googleapis.com%2Fdata_access", "resource": object{"type": "k8s_cluster"},
		"protoPayload": object{
			"@type": "type.googleapis.com/google.cloud.audit.AuditLog", "serviceName": "k8s.io",
			"methodName":         strings.Join(slices.Concat(domain, present(kind)), "."),
			"resourceName":       strings.Join(present(name), "/"),
			"authenticationInfo": object{"principalEmail": e.User.Username},
			"requestMetadata":    object{"callerIp": slices.Concat(e.SourceIPs, []string{""})[0], "callerSuppliedUserAgent": e.UserAgent},
			"status":             object{"code": rpcCodes[e.ResponseStatus.Code]},
		},
	})
}

func text(t testing.TB, value any) string {
	t.Helper()
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
