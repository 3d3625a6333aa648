// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

const head = "{{- /* Written by hack/chart from config/%s; change that, and make generate. */ -}}\n{{- include \"lapse.checkNamespace\" . -}}\n"

// templateOf is the template of a folder. What an edit takes out of config/ goes to values.
func templateOf(folder string, objects []object, values map[string]any) ([]byte, error) {
	var out strings.Builder
	fmt.Fprintf(&out, head, folder)
	if condition := conditions[folder]; condition != "" {
		fmt.Fprintf(&out, "{{- if %s }}\n", condition)
	}
	for _, o := range objects {
		text, err := document(o, values)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", nameOf(o), err)
		}
		if condition := conditions[nameOf(o)]; condition != "" {
			text = fmt.Sprintf("{{- if %s }}\n%s{{- end }}\n", condition, text)
		}
		out.WriteString(text)
	}
	if conditions[folder] != "" {
		out.WriteString("{{- end }}\n")
	}
	return []byte(out.String()), nil
}

func nameOf(o object) string { return fmt.Sprintf("%s/%s", o["kind"], at(o, "metadata.name")) }

// document is the template of an object: its edits leave marks, which are replaced in its
// text.
func document(o object, values map[string]any) (string, error) {
	for i, e := range edits {
		kind, _, _ := strings.Cut(e.object, "/")
		if e.object != nameOf(o) && e.object != kind+"/*" || kind != o["kind"] {
			continue
		}
		old, err := mark(o, strings.Split(e.path, "."), fmt.Sprintf("edit-%d-", i))
		if err != nil {
			return "", fmt.Errorf("%s: %w", e.path, err)
		}
		if e.value != "" {
			values[e.value] = old
		}
	}
	data, err := yaml.Marshal(o)
	if err != nil {
		return "", err
	}
	// What config/ has in braces is not for Helm.
	text := strings.ReplaceAll(string(data), "{{", `{{ "{{" }}`)
	var lines strings.Builder
	for line := range strings.Lines("---\n" + text) {
		lines.WriteString(replaced(line))
	}
	return lines.String(), nil
}

// mark puts a mark where an edit goes, and returns what was there.
func mark(in any, path []string, name string) (old any, err error) {
	last := len(path) == 1
	switch in := in.(type) {
	case map[string]any:
		if last && path[0] == "" {
			in[name] = ""
			return nil, nil
		}
		next, ok := in[path[0]]
		switch {
		case !ok:
			return nil, fmt.Errorf("there is no %s any more", path[0])
		case last:
			in[path[0]] = name
			return next, nil
		case path[1] == "+":
			list, _ := next.([]any)
			in[path[0]] = append(list, name)
			return nil, nil
		}
		return mark(next, path[1:], name)
	case []any:
		i, err := strconv.Atoi(path[0])
		switch {
		case err != nil || i >= len(in):
			return nil, fmt.Errorf("there is no item %s any more", path[0])
		case last:
			old, in[i] = in[i], name
			return old, nil
		}
		return mark(in[i], path[1:], name)
	}
	return nil, fmt.Errorf("there is nothing at %s", path[0])
}

// at is what an object has at a path; nil if there is nothing.
func at(in any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch v := in.(type) {
		case map[string]any:
			in = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(v) {
				return nil
			}
			in = v[i]
		default:
			return nil
		}
	}
	return in
}

// A mark is the value of a key, an item of a list, or a key.
var marked = regexp.MustCompile(`^( *)(.*?)edit-(\d+)-(: "")?\n$`)

// replaced is a line with the text of an edit in place of its mark.
func replaced(line string) string {
	found := marked.FindStringSubmatch(line)
	if found == nil {
		return line
	}
	indent, before, isKey := found[1], found[2], found[4] != ""
	number, _ := strconv.Atoi(found[3]) // the pattern has digits
	text := edits[number].text
	if isKey || before == "- " && strings.Contains(text, "\n") {
		// Lines of their own. What belongs to a key is in by two, entries of this map by none.
		in := len(indent)
		if strings.Contains(text, ":\n") {
			in += 2
		}
		text = strings.ReplaceAll(text, "INDENT", strconv.Itoa(in))
		return indent + strings.ReplaceAll(text, "\n", "\n"+indent) + "\n"
	}
	return indent + before + strings.ReplaceAll(text, "INDENT", strconv.Itoa(len(indent)+2)) + "\n"
}

// allUsed fails if an edit was for something that config/ does not have any more, and
// takes from what was found what is no value.
func allUsed(values map[string]any) error {
	for _, e := range edits {
		if e.value != "" && values[e.value] == nil {
			return fmt.Errorf("config/ has no %s with %s any more: change hack/chart/edits.go", e.object, e.path)
		}
	}
	flag, _ := values["maxDuration"].(string)
	values["maxDuration"] = strings.TrimPrefix(flag, "--max-duration=")
	return nil
}
