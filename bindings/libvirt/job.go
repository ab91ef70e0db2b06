// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

// DomainJobInfo is how far a job of a domain is: a backup, a migration, a
// save. A value counts where its Set field is true. Times are in
// milliseconds, sizes in bytes. Disk is what the job moves, DiskTemp what a
// pull backup keeps in its scratch images.
type DomainJobInfo struct {
	Type DomainJobType

	OperationSet     bool
	Operation        DomainJobOperationType
	TimeElapsedSet   bool
	TimeElapsed      uint64
	TimeRemainingSet bool
	TimeRemaining    uint64

	DataTotalSet     bool
	DataTotal        uint64
	DataProcessedSet bool
	DataProcessed    uint64
	DataRemainingSet bool
	DataRemaining    uint64

	MemTotalSet     bool
	MemTotal        uint64
	MemProcessedSet bool
	MemProcessed    uint64
	MemRemainingSet bool
	MemRemaining    uint64

	DiskTotalSet     bool
	DiskTotal        uint64
	DiskProcessedSet bool
	DiskProcessed    uint64
	DiskRemainingSet bool
	DiskRemaining    uint64
	DiskBpsSet       bool
	DiskBps          uint64

	DiskTempUsedSet  bool
	DiskTempUsed     uint64
	DiskTempTotalSet bool
	DiskTempTotal    uint64

	JobSuccessSet   bool
	JobSuccess      bool
	ErrorMessageSet bool
	ErrorMessage    string
}

func newJobInfo(typ DomainJobType, ps params) *DomainJobInfo {
	j := &DomainJobInfo{Type: typ}
	var operation int
	ps.get(C.VIR_DOMAIN_JOB_OPERATION, &operation, &j.OperationSet)
	j.Operation = DomainJobOperationType(operation)
	ps.get(C.VIR_DOMAIN_JOB_TIME_ELAPSED, &j.TimeElapsed, &j.TimeElapsedSet)
	ps.get(C.VIR_DOMAIN_JOB_TIME_REMAINING, &j.TimeRemaining, &j.TimeRemainingSet)
	ps.get(C.VIR_DOMAIN_JOB_DATA_TOTAL, &j.DataTotal, &j.DataTotalSet)
	ps.get(C.VIR_DOMAIN_JOB_DATA_PROCESSED, &j.DataProcessed, &j.DataProcessedSet)
	ps.get(C.VIR_DOMAIN_JOB_DATA_REMAINING, &j.DataRemaining, &j.DataRemainingSet)
	ps.get(C.VIR_DOMAIN_JOB_MEMORY_TOTAL, &j.MemTotal, &j.MemTotalSet)
	ps.get(C.VIR_DOMAIN_JOB_MEMORY_PROCESSED, &j.MemProcessed, &j.MemProcessedSet)
	ps.get(C.VIR_DOMAIN_JOB_MEMORY_REMAINING, &j.MemRemaining, &j.MemRemainingSet)
	ps.get(C.VIR_DOMAIN_JOB_DISK_TOTAL, &j.DiskTotal, &j.DiskTotalSet)
	ps.get(C.VIR_DOMAIN_JOB_DISK_PROCESSED, &j.DiskProcessed, &j.DiskProcessedSet)
	ps.get(C.VIR_DOMAIN_JOB_DISK_REMAINING, &j.DiskRemaining, &j.DiskRemainingSet)
	ps.get(C.VIR_DOMAIN_JOB_DISK_BPS, &j.DiskBps, &j.DiskBpsSet)
	ps.get(C.VIR_DOMAIN_JOB_DISK_TEMP_USED, &j.DiskTempUsed, &j.DiskTempUsedSet)
	ps.get(C.VIR_DOMAIN_JOB_DISK_TEMP_TOTAL, &j.DiskTempTotal, &j.DiskTempTotalSet)
	ps.get(C.VIR_DOMAIN_JOB_SUCCESS, &j.JobSuccess, &j.JobSuccessSet)
	ps.get(C.VIR_DOMAIN_JOB_ERRMSG, &j.ErrorMessage, &j.ErrorMessageSet)
	return j
}

// GetJobInfo is how far the domain's job is, without what [Domain.GetJobStats]
// tells beyond it; File in libvirt's struct is Disk here. Type is
// [DOMAIN_JOB_NONE] where no job runs.
func (d *Domain) GetJobInfo() (*DomainJobInfo, error) {
	var e C.callError
	var info C.virDomainJobInfo
	if err := check(C.go_virDomainGetJobInfo(&e, d.ptr, &info), &e); err != nil {
		return nil, err
	}
	return &DomainJobInfo{
		Type:           DomainJobType(info._type),
		TimeElapsedSet: true, TimeElapsed: uint64(info.timeElapsed),
		TimeRemainingSet: true, TimeRemaining: uint64(info.timeRemaining),
		DataTotalSet: true, DataTotal: uint64(info.dataTotal),
		DataProcessedSet: true, DataProcessed: uint64(info.dataProcessed),
		DataRemainingSet: true, DataRemaining: uint64(info.dataRemaining),
		MemTotalSet: true, MemTotal: uint64(info.memTotal),
		MemProcessedSet: true, MemProcessed: uint64(info.memProcessed),
		MemRemainingSet: true, MemRemaining: uint64(info.memRemaining),
		DiskTotalSet: true, DiskTotal: uint64(info.fileTotal),
		DiskProcessedSet: true, DiskProcessed: uint64(info.fileProcessed),
		DiskRemainingSet: true, DiskRemaining: uint64(info.fileRemaining),
	}, nil
}

// GetJobStats is how far the domain's job is, or with
// [DOMAIN_JOB_STATS_COMPLETED] how the last one ended.
func (d *Domain) GetJobStats(flags DomainGetJobStatsFlags) (*DomainJobInfo, error) {
	var e C.callError
	var typ, n C.int
	var array C.virTypedParameterPtr
	if err := check(C.go_virDomainGetJobStats(&e, d.ptr, &typ, &array, &n, C.uint(flags)), &e); err != nil {
		return nil, err
	}
	return newJobInfo(DomainJobType(typ), takeParams(array, n)), nil
}

// AbortJob ends the domain's job. It ends a pull backup, which is how one is
// finished, and its [DomainEventJobCompleted] says so.
func (d *Domain) AbortJob() error {
	var e C.callError
	return check(C.go_virDomainAbortJob(&e, d.ptr), &e)
}

// AbortJobFlags is [Domain.AbortJob] with flags.
func (d *Domain) AbortJobFlags(flags DomainAbortJobFlags) error {
	var e C.callError
	return check(C.go_virDomainAbortJobFlags(&e, d.ptr, C.uint(flags)), &e)
}
