// SPDX-License-Identifier: Apache-2.0

// Package nbd reads, writes and maps a disk that an NBD server exports, with
// many requests in flight on one or more connections:
//
//	c, err := nbd.Connect(ctx, nbd.Options{Socket: path, Export: "sda", Contexts: []string{nbd.Allocation}, Connections: 4})
//	...
//	defer c.Close()
//	extents := c.Extents(ctx, nbd.Query{Allocation: true})
//	for piece, err := range c.Read(ctx, extents, nbd.ReadOptions{Memory: 64 << 20}) {
//
// Extents are streamed: neither their number nor the size of the disk costs
// memory. Pieces come in order, whatever order the server answers in.
//
// A context that ends while a request waits for the server ends the client: its
// connections are closed, because nothing else stops the server from writing
// into memory that the caller takes back. A client that is broken, by that or
// by the server, answers everything with the error that broke it.
package nbd
