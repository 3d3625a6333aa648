// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/util/jsonpath"

	"github.com/lapse-dev/lapse/internal/text"
)

// columns prints -o custom-columns=NAME:.metadata.name,ROLE:.spec.roleRef.name, which
// kubectl has in a package that is too large to be linked for it.
type columns struct {
	headers []string
	values  []*jsonpath.JSONPath
}

var _ printers.ResourcePrinter = (*columns)(nil)

func newColumns(spec string) (*columns, error) {
	if spec == "" {
		return nil, fmt.Errorf("-o %s needs columns, such as -o %s=NAME:.metadata.name,STATE:.status.state", outputColumns, outputColumns)
	}
	c := &columns{}
	for part := range strings.SplitSeq(spec, ",") {
		header, path, found := strings.Cut(part, ":")
		if !found || header == "" || path == "" {
			return nil, fmt.Errorf("%q is not a column; write HEADER:.path, such as NAME:.metadata.name", part)
		}
		if !strings.HasPrefix(path, "{") {
			path = "{." + strings.TrimPrefix(path, ".") + "}"
		}
		value := jsonpath.New(header).AllowMissingKeys(true)
		if err := value.Parse(path); err != nil {
			return nil, fmt.Errorf("column %s: %w", header, err)
		}
		c.headers, c.values = append(c.headers, header), append(c.values, value)
	}
	return c, nil
}

// PrintObj prints one line for an object, or for each of a list.
func (c *columns) PrintObj(obj runtime.Object, w io.Writer) error {
	objects := []runtime.Object{obj}
	if meta.IsListType(obj) {
		var err error
		if objects, err = meta.ExtractList(obj); err != nil {
			return err
		}
	}
	table := printers.GetNewTabWriter(w)
	fmt.Fprintln(table, strings.Join(c.headers, "\t"))
	for _, object := range objects {
		line, err := c.line(object)
		if err != nil {
			return err
		}
		fmt.Fprintln(table, line)
	}
	return table.Flush()
}

func (c *columns) line(obj runtime.Object) (string, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return "", err
	}
	cells := make([]string, 0, len(c.values))
	for _, value := range c.values {
		results, err := value.FindResults(fields)
		if err != nil {
			return "", err
		}
		var found []string
		for _, result := range results {
			for _, v := range result {
				found = append(found, text.Line(fmt.Sprint(v.Interface())))
			}
		}
		if len(found) == 0 {
			found = []string{"<none>"}
		}
		cells = append(cells, strings.Join(found, ","))
	}
	return strings.Join(cells, "\t"), nil
}
