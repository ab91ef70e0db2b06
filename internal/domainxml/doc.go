// SPDX-License-Identifier: Apache-2.0

// Package domainxml reads and rewrites libvirt's domain XML, and writes the XML of
// backup jobs and checkpoints.
//
//	d, err := domainxml.Parse(xml)         // what is this domain made of?
//	domainxml.Select(d.Disks(), options)   // which disks does a backup take?
//	domainxml.BackupXML(job)               // for virDomainBackupBegin
//	domainxml.CheckpointXML(checkpoint)    // its second argument
//	domainxml.Rewrite(d, options)          // the domain with its restored disks
//	domainxml.Recover(d, options)          // the domain running from its backup
//
// A document is kept as tokens: what the package does not know stays as it was,
// comments, namespaces and the order of attributes included.
//
// XML comes out of backup sets, which may have been tampered with. Parse
// refuses what is too large or too deep, document types and with them every
// entity of one's own, attributes given twice, and names that could lead out of
// a folder when they become part of a path. No file that XML names is opened
// here.
package domainxml
