// SPDX-License-Identifier: Apache-2.0

package fusefs

import "github.com/hanwen/go-fuse/v2/fuse"

// Server serves a mount.
type Server struct {
	*fuse.Server
	lib *library
}

// Wait returns when the mount ended, by Unmount or by another program. Then
// all that was written to the images is kept; the error says where it is not.
func (s *Server) Wait() error {
	s.Server.Wait()
	return s.lib.close()
}
