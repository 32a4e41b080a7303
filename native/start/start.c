/*
 * The EFI program that the firmware starts (\EFI\BOOT\BOOTX64.EFI). It starts
 * systemd-boot, and resets the machine when that returns or cannot be started.
 *
 * systemd-boot returns to the firmware when it may not start an entry, such as
 * one whose signature is wrong; the firmware then stops with "no bootable
 * option" and the boot counter, which would have gone back to the other slot,
 * never gets a turn. After a reset it does.
 */
#include <efi.h>

#ifndef LOADER
#error "LOADER is the path of systemd-boot, such as L\"\\\\EFI\\\\systemd\\\\systemd-bootx64.efi\""
#endif

/* Long enough to read the message, short enough for a node that heals itself. */
#define MICROSECONDS_TO_READ 3000000

static EFI_GUID loaded_image = EFI_LOADED_IMAGE_PROTOCOL_GUID;
static EFI_GUID device_path = EFI_DEVICE_PATH_PROTOCOL_GUID;

static UINTN node_length(const EFI_DEVICE_PATH *node)
{
	return (UINTN)node->Length[0] | (UINTN)node->Length[1] << 8;
}

/* Bytes of all nodes of `path` before the one that ends it; 0 where it is damaged. */
static UINTN path_length(const EFI_DEVICE_PATH *path)
{
	const UINT8 *at = (const UINT8 *)path;

	for (;;) {
		const EFI_DEVICE_PATH *node = (const EFI_DEVICE_PATH *)at;

		if ((node->Type & 0x7f) == END_DEVICE_PATH_TYPE)
			return (UINTN)(at - (const UINT8 *)path);
		if (node_length(node) < sizeof(*node))
			return 0;
		at += node_length(node);
	}
}

static void copy(UINT8 *to, const void *from, UINTN length)
{
	for (UINTN i = 0; i < length; i++)
		to[i] = ((const volatile UINT8 *)from)[i];
}

/* Load the file LOADER from the device that this program came from. */
static EFI_STATUS load(EFI_HANDLE self, EFI_BOOT_SERVICES *services, EFI_HANDLE *loader)
{
	static const CHAR16 file[] = LOADER;
	EFI_LOADED_IMAGE *image;
	EFI_DEVICE_PATH *device, node;
	UINT8 *path;
	UINTN length;
	EFI_STATUS status;

	status = services->HandleProtocol(self, &loaded_image, (void **)&image);
	if (EFI_ERROR(status))
		return status;
	status = services->HandleProtocol(image->DeviceHandle, &device_path, (void **)&device);
	if (EFI_ERROR(status))
		return status;
	length = path_length(device);
	status = services->AllocatePool(EfiLoaderData, length + 2 * sizeof(node) + sizeof(file),
					(void **)&path);
	if (EFI_ERROR(status))
		return status;
	copy(path, device, length);
	node.Type = MEDIA_DEVICE_PATH;
	node.SubType = MEDIA_FILEPATH_DP;
	node.Length[0] = (UINT8)(sizeof(node) + sizeof(file));
	node.Length[1] = (UINT8)((sizeof(node) + sizeof(file)) >> 8);
	copy(path + length, &node, sizeof(node));
	copy(path + length + sizeof(node), file, sizeof(file));
	node.Type = END_DEVICE_PATH_TYPE;
	node.SubType = END_ENTIRE_DEVICE_PATH_SUBTYPE;
	node.Length[0] = sizeof(node);
	node.Length[1] = 0;
	copy(path + length + sizeof(node) + sizeof(file), &node, sizeof(node));
	return services->LoadImage(FALSE, self, (EFI_DEVICE_PATH *)path, NULL, 0, loader);
}

EFI_STATUS EFIAPI efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *table)
{
	EFI_BOOT_SERVICES *services = table->BootServices;
	EFI_HANDLE loader;

	if (!EFI_ERROR(load(self, services, &loader)))
		services->StartImage(loader, NULL, NULL);
	table->ConOut->OutputString(table->ConOut,
				    (CHAR16 *)L"bulkhead: the boot loader did not start a system, "
					      L"resetting\r\n");
	services->Stall(MICROSECONDS_TO_READ);
	table->RuntimeServices->ResetSystem(EfiResetCold, EFI_SUCCESS, 0, NULL);
	return EFI_ABORTED;
}
