// Command gophercloud lives the lives of volumes with the Go library that Terraform's provider, cinder-csi and most of Kubernetes
// use. It prints "ok" at the end.
//
// Built as `GO111MODULE=off GOPATH=/usr/share/gocode go build`, with Debian's packages golang-go and
// golang-github-gophercloud-gophercloud-dev.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud"
	"github.com/gophercloud/gophercloud/openstack"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/apiversions"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/backups"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/quotasets"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/schedulerhints"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/schedulerstats"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/services"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/volumeactions"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/volumetenants"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/extensions/volumetransfers"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/v3/attachments"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/openstack/blockstorage/v3/volumetypes"
	"github.com/gophercloud/gophercloud/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/openstack/identity/v3/users"
	"github.com/gophercloud/gophercloud/pagination"
)

// Patience is how long a volume may take to become what was asked for.
const patience = 300 * time.Second

// Server is an instance that no compute service knows.
const server = "11111111-1111-4111-8111-111111111111"

func main() {
	provider := login()
	options := gophercloud.EndpointOpts{Region: os.Getenv("OS_REGION_NAME")}
	client, err := openstack.NewBlockStorageV3(provider, options)
	must("find block storage in the catalogue", err)

	versions(client)
	id := volume(client)
	snapshot(client, id)
	actions(client, id)
	newer := *client
	newer.Microversion = "3.54"
	attachment(&newer, id)
	types(client, id)
	transfer(client, id)
	administration(client, provider, options)
	refusals(client, id)
	must("delete the volume", volumes.Delete(client, id, volumes.DeleteOpts{}).ExtractErr())
	gone(client, id)
	fmt.Println("ok")
}

func login() *gophercloud.ProviderClient {
	provider, err := openstack.AuthenticatedClient(credentials(os.Getenv("OS_PASSWORD")))
	must("log in", err)
	return provider
}

// credentials are what the environment says; this release of the library reads no OS_PROJECT_DOMAIN_NAME from it.
func credentials(password string) gophercloud.AuthOptions {
	return gophercloud.AuthOptions{
		IdentityEndpoint: os.Getenv("OS_AUTH_URL"),
		Username:         os.Getenv("OS_USERNAME"),
		Password:         password,
		TenantName:       os.Getenv("OS_PROJECT_NAME"),
		DomainName:       os.Getenv("OS_PROJECT_DOMAIN_NAME"),
		AllowReauth:      true,
	}
}

func versions(client *gophercloud.ServiceClient) {
	root := *client
	root.Endpoint = client.Endpoint[:strings.Index(client.Endpoint, "/v3/")+1]
	root.ResourceBase = ""
	pages, err := apiversions.List(&root).AllPages()
	must("list versions", err)
	found, err := apiversions.ExtractAPIVersions(pages)
	must("read versions", err)
	check(len(found) == 1 && found[0].ID == "v3.0", "versions", found)
}

func volume(client *gophercloud.ServiceClient) string {
	hinted := schedulerhints.CreateOptsExt{
		VolumeCreateOptsBuilder: volumes.CreateOpts{
			Name: "go", Size: 1, Description: "d", Metadata: map[string]string{"a": "b"}, AvailabilityZone: "nova",
		},
		SchedulerHints: schedulerhints.SchedulerHints{DifferentHost: []string{server}},
	}
	made, err := volumes.Create(client, hinted).Extract()
	must("create a volume", err)
	check(made.Status == "creating" && !made.CreatedAt.IsZero(), "created", made)
	id := made.ID
	shown := becomes(client, id, "available")
	check(shown.Metadata["a"] == "b" && shown.Bootable == "false", "shown", shown)
	name, none := "gone", ""
	shown, err = volumes.Update(client, id, volumes.UpdateOpts{Name: &name, Description: &none}).Extract()
	must("update it", err)
	check(shown.Name == name && shown.Description == "", "updated", shown)

	other, err := volumes.Create(client, volumes.CreateOpts{SourceVolID: id, Size: 2}).Extract()
	must("clone it", err)
	shown = becomes(client, other.ID, "available")
	check(shown.Size == 2 && shown.SourceVolID == id, "cloned", shown)
	var tenants []struct {
		volumes.Volume
		volumetenants.VolumeTenantExt
	}
	seen := 0
	pages := volumes.List(client, volumes.ListOpts{Limit: 1, AllTenants: true, Sort: "size:asc"})
	must("list pages", pages.EachPage(func(page pagination.Page) (bool, error) {
		err := volumes.ExtractVolumesInto(page, &tenants)
		check(len(tenants) == 1 && tenants[0].TenantID != "", "a page", tenants)
		seen++
		return true, err
	}))
	check(seen == 2, "pages", seen)
	list := volumes.ListOpts{Name: name, Status: "available", Metadata: map[string]string{"a": "b"}}
	all, err := volumes.List(client, list).AllPages()
	must("list some", err)
	found, err := volumes.ExtractVolumes(all)
	must("read the list", err)
	check(len(found) == 1 && found[0].ID == id, "found", found)
	must("delete the clone", volumes.Delete(client, other.ID, volumes.DeleteOpts{Cascade: true}).ExtractErr())
	gone(client, other.ID)
	return id
}

func snapshot(client *gophercloud.ServiceClient, volume string) {
	options := snapshots.CreateOpts{VolumeID: volume, Name: "s", Description: "d", Metadata: map[string]string{"k": "v"}, Force: true}
	made, err := snapshots.Create(client, options).Extract()
	must("create a snapshot", err)
	must("wait for it", snapshots.WaitForStatus(client, made.ID, "available", int(patience/time.Second)))
	shown, err := snapshots.Get(client, made.ID).Extract()
	must("show it", err)
	check(shown.VolumeID == volume && shown.Size == 1 && shown.Metadata["k"] == "v", "snapshot", shown)
	changed, err := snapshots.UpdateMetadata(client, made.ID, snapshots.UpdateMetadataOpts{
		Metadata: map[string]interface{}{"k": "w"},
	}).ExtractMetadata()
	must("change its metadata", err)
	check(changed["k"] == "w", "metadata", changed)
	all, err := snapshots.List(client, snapshots.ListOpts{VolumeID: volume, Name: "s", Limit: 1}).AllPages()
	must("list snapshots", err)
	found, err := snapshots.ExtractSnapshots(all)
	must("read snapshots", err)
	check(len(found) == 1, "snapshots", found)
	must("delete it", snapshots.Delete(client, made.ID).ExtractErr())
	until("the snapshot is gone", func() bool {
		_, err := snapshots.Get(client, made.ID).Extract()
		return is(err, http.StatusNotFound)
	})
}

func actions(client *gophercloud.ServiceClient, id string) {
	must("reserve", volumeactions.Reserve(client, id).ExtractErr())
	must("unreserve", volumeactions.Unreserve(client, id).ExtractErr())
	must("extend", volumeactions.ExtendSize(client, id, volumeactions.ExtendSizeOpts{NewSize: 2}).ExtractErr())
	check(becomes(client, id, "available").Size == 2, "extended", id)
	must("make it bootable", volumeactions.SetBootable(client, id, volumeactions.BootableOpts{Bootable: true}).ExtractErr())
	image := volumeactions.ImageMetadataOpts{Metadata: map[string]string{"os": "linux"}}
	must("say what is in it", volumeactions.SetImageMetadata(client, id, image).ExtractErr())
	shown := becomes(client, id, "available")
	check(shown.Bootable == "true" && shown.VolumeImageMetadata["os"] == "linux", "flags", shown)

	must("reserve", volumeactions.Reserve(client, id).ExtractErr())
	connector := volumeactions.InitializeConnectionOpts{IP: "192.0.2.1", Host: "h", Initiator: "iqn.2026-11.invalid:h", Platform: "x86_64", OSType: "linux"}
	connection, err := volumeactions.InitializeConnection(client, id, connector).Extract()
	must("connect", err)
	check(connection["driver_volume_type"] != nil && connection["data"] != nil, "connection", connection)
	must("attach", volumeactions.Attach(client, id, volumeactions.AttachOpts{
		MountPoint: "/dev/vdb", InstanceUUID: server, Mode: volumeactions.ReadWrite,
	}).ExtractErr())
	shown = becomes(client, id, "in-use")
	check(len(shown.Attachments) == 1 && !shown.Attachments[0].AttachedAt.IsZero(), "attached", shown)
	must("begin to detach", volumeactions.BeginDetaching(client, id).ExtractErr())
	must("disconnect", volumeactions.TerminateConnection(client, id, volumeactions.TerminateConnectionOpts{Host: "h"}).ExtractErr())
	must("detach", volumeactions.Detach(client, id, volumeactions.DetachOpts{
		AttachmentID: shown.Attachments[0].AttachmentID,
	}).ExtractErr())
	becomes(client, id, "available")
}

func attachment(client *gophercloud.ServiceClient, volume string) {
	made, err := attachments.Create(client, attachments.CreateOpts{VolumeUUID: volume, InstanceUUID: server, Mode: "rw"}).Extract()
	must("create an attachment", err)
	connector := map[string]interface{}{"host": "h", "ip": "192.0.2.1", "initiator": "i", "platform": "p", "os_type": "o", "multipath": false}
	changed, err := attachments.Update(client, made.ID, attachments.UpdateOpts{Connector: connector}).Extract()
	must("connect it", err)
	check(changed.ConnectionInfo["driver_volume_type"] != nil, "connected", changed)
	must("complete it", attachments.Complete(client, made.ID).ExtractErr())
	shown, err := attachments.Get(client, made.ID).Extract()
	must("show it", err)
	check(shown.Status == "attached" && shown.Instance == server && !shown.AttachedAt.IsZero(), "attachment", shown)
	all, err := attachments.List(client, attachments.ListOpts{VolumeID: volume, Limit: 1}).AllPages()
	must("list attachments", err)
	found, err := attachments.ExtractAttachments(all)
	must("read attachments", err)
	check(len(found) == 1, "attachments", found)
	must("delete it", attachments.Delete(client, made.ID).ExtractErr())
	becomes(client, volume, "available")
}

func types(client *gophercloud.ServiceClient, volume string) {
	public := false
	made, err := volumetypes.Create(client, volumetypes.CreateOpts{
		Name: "go-type", Description: "d", IsPublic: &public, ExtraSpecs: map[string]string{"k": "v"},
	}).Extract()
	must("create a type", err)
	name := "go-types"
	public = true
	_, err = volumetypes.Update(client, made.ID, volumetypes.UpdateOpts{Name: &name, IsPublic: &public}).Extract()
	must("update it", err)
	shown, err := volumetypes.Get(client, made.ID).Extract()
	must("show it", err)
	check(shown.Name == name && shown.IsPublic && shown.ExtraSpecs["k"] == "v", "type", shown)
	all, err := volumetypes.List(client, volumetypes.ListOpts{Limit: 1, Sort: "name:asc"}).AllPages()
	must("list types", err)
	found, err := volumetypes.ExtractVolumeTypes(all)
	must("read types", err)
	check(len(found) == 2, "types", found)
	must("delete it", volumetypes.Delete(client, made.ID).ExtractErr())
}

func transfer(client *gophercloud.ServiceClient, volume string) {
	offer, err := volumetransfers.Create(client, volumetransfers.CreateOpts{VolumeID: volume, Name: "offer"}).Extract()
	must("offer the volume", err)
	check(offer.AuthKey != "" && !offer.CreatedAt.IsZero(), "offer", offer)
	_, err = volumetransfers.Get(client, offer.ID).Extract()
	must("show the offer", err)
	all, err := volumetransfers.List(client, volumetransfers.ListOpts{AllTenants: true}).AllPages()
	must("list offers", err)
	found, err := volumetransfers.ExtractTransfers(all)
	must("read offers", err)
	check(len(found) == 1, "offers", found)
	_, err = volumetransfers.Accept(client, offer.ID, volumetransfers.AcceptOpts{AuthKey: offer.AuthKey}).Extract()
	must("accept the offer", err)
	offer, err = volumetransfers.Create(client, volumetransfers.CreateOpts{VolumeID: volume}).Extract()
	must("offer it again", err)
	must("take the offer back", volumetransfers.Delete(client, offer.ID).ExtractErr())
	becomes(client, volume, "available")
}

func administration(client *gophercloud.ServiceClient, provider *gophercloud.ProviderClient, options gophercloud.EndpointOpts) {
	identity, err := openstack.NewIdentityV3(provider, options)
	must("find identity in the catalogue", err)
	project, err := tokens.Get(identity, provider.Token()).ExtractProject()
	must("look at the token", err)
	listed, err := projects.List(identity, projects.ListOpts{Name: os.Getenv("OS_PROJECT_NAME")}).AllPages()
	must("list projects", err)
	mine, err := projects.ExtractProjects(listed)
	must("read projects", err)
	check(len(mine) == 1 && mine[0].ID == project.ID, "projects", mine)
	listed, err = users.List(identity, users.ListOpts{Name: os.Getenv("OS_USERNAME")}).AllPages()
	must("list users", err)
	people, err := users.ExtractUsers(listed)
	must("read users", err)
	check(len(people) == 1, "users", people)

	ten := 10
	set, err := quotasets.Update(client, project.ID, quotasets.UpdateOpts{Volumes: &ten}).Extract()
	must("set a quota", err)
	check(set.Volumes == ten, "quota", set)
	usage, err := quotasets.GetUsage(client, project.ID).Extract()
	must("show usage", err)
	check(usage.Volumes.Limit == ten && usage.Volumes.InUse == 1, "usage", usage)
	_, err = quotasets.GetDefaults(client, project.ID).Extract()
	must("show defaults", err)
	must("remove the quota", quotasets.Delete(client, project.ID).ExtractErr())
	set, err = quotasets.Get(client, project.ID).Extract()
	must("show the quota", err)
	check(set.Volumes != ten, "quota", set)

	all, err := services.List(client, services.ListOpts{Binary: "cinder-volume"}).AllPages()
	must("list services", err)
	running, err := services.ExtractServices(all)
	must("read services", err)
	check(len(running) == 1 && running[0].State == "up" && running[0].Zone == "nova" && !running[0].UpdatedAt.IsZero(), "services", running)
	all, err = schedulerstats.List(client, schedulerstats.ListOpts{Detail: true}).AllPages()
	must("list pools", err)
	pools, err := schedulerstats.ExtractStoragePools(all)
	must("read pools", err)
	check(len(pools) == 1 && pools[0].Capabilities.TotalCapacityGB > 0, "pools", pools)

	// What later releases of the library have, by the request alone.
	for _, path := range []string{"os-availability-zone", "limits", "qos-specs", "extensions"} {
		var body map[string]interface{}
		_, err := client.Get(client.ServiceURL(path), &body, nil)
		must("get "+path, err)
		check(len(body) == 1, path, body)
	}
}

func refusals(client *gophercloud.ServiceClient, id string) {
	_, err := volumes.Get(client, server).Extract()
	check(is(err, http.StatusNotFound), "an unknown volume", err)
	_, err = volumes.Create(client, volumes.CreateOpts{Size: 1, VolumeType: "lead"}).Extract()
	check(is(err, http.StatusNotFound), "an unknown type", err)
	_, err = volumes.Create(client, volumes.CreateOpts{Name: "no size"}).Extract()
	check(is(err, http.StatusBadRequest), "no size", err)
	_, err = volumes.Create(client, volumes.CreateOpts{Size: 1, Multiattach: true}).Extract()
	check(is(err, http.StatusBadRequest), "multiattach", err)
	err = volumeactions.ExtendSize(client, id, volumeactions.ExtendSizeOpts{NewSize: 1}).ExtractErr()
	check(is(err, http.StatusBadRequest), "shrinking", err)
	err = volumeactions.BeginDetaching(client, id).ExtractErr()
	check(is(err, http.StatusBadRequest), "detaching what is not attached", err)
	all, err := backups.List(client, backups.ListOpts{}).AllPages()
	must("list backups", err)
	none, err := all.IsEmpty()
	check(err == nil && none, "backups", all)
	_, err = backups.Create(client, backups.CreateOpts{VolumeID: id}).Extract()
	check(is(err, http.StatusServiceUnavailable), "a backup", err)

	_, err = openstack.AuthenticatedClient(credentials("wrong"))
	check(is(err, http.StatusUnauthorized), "a wrong password", err)
}

// becomes waits until a volume has a status, as Terraform's provider and cinder-csi do: it asks again and again, and gives up when
// the volume is in error.
func becomes(client *gophercloud.ServiceClient, id, status string) *volumes.Volume {
	var shown *volumes.Volume
	until(id+" is "+status, func() bool {
		var err error
		shown, err = volumes.Get(client, id).Extract()
		must("show "+id, err)
		check(shown.Status == status || shown.Status != "error", "a volume", shown)
		return shown.Status == status
	})
	return shown
}

func gone(client *gophercloud.ServiceClient, id string) {
	until(id+" is gone", func() bool {
		_, err := volumes.Get(client, id).Extract()
		return is(err, http.StatusNotFound)
	})
}

func until(what string, look func() bool) {
	for deadline := time.Now().Add(patience); !look(); time.Sleep(100 * time.Millisecond) {
		check(time.Now().Before(deadline), "in time", what)
	}
}

// is tells a refusal by its status.
func is(err error, status int) bool {
	switch refusal := err.(type) {
	case gophercloud.ErrDefault400:
		return status == http.StatusBadRequest
	case gophercloud.ErrDefault401:
		return status == http.StatusUnauthorized
	case gophercloud.ErrDefault404:
		return status == http.StatusNotFound
	case gophercloud.ErrDefault503:
		return status == http.StatusServiceUnavailable
	case interface{ GetStatusCode() int }:
		return refusal.GetStatusCode() == status
	}
	return false
}

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func check(holds bool, what string, found interface{}) {
	if !holds {
		fmt.Fprintf(os.Stderr, "%s: found %+v\n", what, found)
		os.Exit(1)
	}
}
