// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane starts a real Kubernetes control plane on this machine
// and stops it again: etcd and kube-apiserver through envtest and, if asked
// for, kube-controller-manager, which envtest cannot start. There are no nodes;
// test/node adds one.
//
// It differs from a bare envtest in what Lapse needs to prove things with:
// ServiceAccount tokens, garbage collection, aggregated ClusterRoles, users
// who are not the admin, and an audit log from which every write can be counted.
//
// Everything listens on 127.0.0.1, but where Options say otherwise, and lives in one
// folder, which Stop removes.
package controlplane
