// SPDX-License-Identifier: Apache-2.0

//go:build !crashtest

package backupcmd

// crashPoint is where a program built with the tag crashtest can be killed.
func crashPoint(string) {}
