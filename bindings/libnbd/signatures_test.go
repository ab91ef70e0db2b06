// SPDX-License-Identifier: Apache-2.0

package libnbd

// What a backup or restore client calls, with the types of upstream.
var (
	_ func() (*Libnbd, error)                                                               = Create
	_ func(*Libnbd) *LibnbdError                                                            = (*Libnbd).Close
	_ func(*Libnbd, string) error                                                           = (*Libnbd).SetExportName
	_ func(*Libnbd) (*string, error)                                                        = (*Libnbd).GetCanonicalExportName
	_ func(*Libnbd, ListCallback) (uint, error)                                             = (*Libnbd).OptList
	_ func(*Libnbd, ContextCallback) (uint, error)                                          = (*Libnbd).OptListMetaContext
	_ func(*Libnbd, string) error                                                           = (*Libnbd).AddMetaContext
	_ func(*Libnbd, string) (bool, error)                                                   = (*Libnbd).CanMetaContext
	_ func(*Libnbd, int) (*string, error)                                                   = (*Libnbd).GetMetaContext
	_ func(*Libnbd, Tls) error                                                              = (*Libnbd).SetTls
	_ func(*Libnbd, string) error                                                           = (*Libnbd).SetTlsCertificates
	_ func(*Libnbd, bool) error                                                             = (*Libnbd).SetTlsVerifyPeer
	_ func(*Libnbd, string) error                                                           = (*Libnbd).SetTlsHostname
	_ func(*Libnbd) (bool, error)                                                           = (*Libnbd).OptStarttls
	_ func(*Libnbd, AllowTransport) error                                                   = (*Libnbd).SetUriAllowTransports
	_ func(*Libnbd, Tls) error                                                              = (*Libnbd).SetUriAllowTls
	_ func(*Libnbd, string) error                                                           = (*Libnbd).ConnectUri
	_ func(*Libnbd, string) error                                                           = (*Libnbd).ConnectUnix
	_ func(*Libnbd, string, string) error                                                   = (*Libnbd).ConnectTcp
	_ func(*Libnbd, uint32, uint32) error                                                   = (*Libnbd).ConnectVsock
	_ func(*Libnbd, int) error                                                              = (*Libnbd).ConnectSocket
	_ func(*Libnbd, []string) error                                                         = (*Libnbd).ConnectCommand
	_ func(*Libnbd, []string) error                                                         = (*Libnbd).ConnectSystemdSocketActivation
	_ func(*Libnbd) (uint64, error)                                                         = (*Libnbd).GetSize
	_ func(*Libnbd, Size) (uint64, error)                                                   = (*Libnbd).GetBlockSize
	_ func(*Libnbd) (bool, error)                                                           = (*Libnbd).CanMultiConn
	_ func(*Libnbd, []byte, uint64, *PreadOptargs) error                                    = (*Libnbd).Pread
	_ func(*Libnbd, []byte, uint64, ChunkCallback, *PreadStructuredOptargs) error           = (*Libnbd).PreadStructured
	_ func(*Libnbd, []byte, uint64, *PwriteOptargs) error                                   = (*Libnbd).Pwrite
	_ func(*Libnbd, uint64, uint64, *ZeroOptargs) error                                     = (*Libnbd).Zero
	_ func(*Libnbd, uint64, uint64, *TrimOptargs) error                                     = (*Libnbd).Trim
	_ func(*Libnbd, *FlushOptargs) error                                                    = (*Libnbd).Flush
	_ func(*Libnbd, *ShutdownOptargs) error                                                 = (*Libnbd).Shutdown
	_ func(*Libnbd, uint64, uint64, ExtentCallback, *BlockStatusOptargs) error              = (*Libnbd).BlockStatus
	_ func(*Libnbd, uint64, uint64, Extent64Callback, *BlockStatus64Optargs) error          = (*Libnbd).BlockStatus64
	_ func(*Libnbd, AioBuffer, uint64, *AioPreadOptargs) (uint64, error)                    = (*Libnbd).AioPread
	_ func(*Libnbd, AioBuffer, uint64, *AioPwriteOptargs) (uint64, error)                   = (*Libnbd).AioPwrite
	_ func(*Libnbd, uint64, uint64, *AioZeroOptargs) (uint64, error)                        = (*Libnbd).AioZero
	_ func(*Libnbd, *AioFlushOptargs) (uint64, error)                                       = (*Libnbd).AioFlush
	_ func(*Libnbd, uint64, uint64, ExtentCallback, *AioBlockStatusOptargs) (uint64, error) = (*Libnbd).AioBlockStatus
	_ func(*Libnbd, int) (uint, error)                                                      = (*Libnbd).Poll
	_ func(*Libnbd, uint64) (bool, error)                                                   = (*Libnbd).AioCommandCompleted
	_ func(*AioBuffer) []byte                                                               = (*AioBuffer).Slice
)
