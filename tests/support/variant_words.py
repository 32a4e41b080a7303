"""What the reference says of keys of `variant.toml` whose fields have no sentence of their own.

Not beside the fields, for now: the model is in every image, with the numbers of its lines, so
sentences there make another image. They can move there with the next change of the model.
"""

from __future__ import annotations

WORDS = {
    "Variant.name": "Of the variant and, after `bulkhead-`, of its image; the name of its directory "
    "without it.",
    "Variant.description": "For people who choose a variant.",
    "Variant.packages": "What is installed; see [packages](#packages).",
    "Variant.kernel": "The kernel and its modules; see [kernel](#kernel).",
    "Variant.units": "What starts at boot; see [units](#units).",
    "Variant.sizes": "Of the disk's partitions; see [sizes](#sizes).",
    "Variant.image": "How the root is packed; see [image](#image).",
    "Variant.repositories": "Where packages come from; see [repository](#repository).",
    "Variant.pins": "Which versions are preferred or forbidden; see [pin](#pin).",
    "Variant.files": "Single files that are no package's; see [file](#file).",
    "Kernel.command_line": "Added to the kernel's command line, one word each.",
    "Units.mask": "Units that never start, whoever asks for them.",
    "Sizes.esp": "Of the EFI system partition, which has the boot loader and the kernels of both slots.",
    "Sizes.verity": "Of the hash tree of each root slot.",
    "File.url": "Where it is fetched from.",
    "File.sha256": "Of its content; any other content is refused.",
    "File.size": "In bytes.",
    "File.mode": "Its permissions in octal; `0644` without it.",
    "Repository.name": "By which locks and pins know it.",
    "Repository.components": "Parts of each suite, such as `non-free-firmware`; `main` without it.",
    "Pin.priority": "Of the versions that match, instead of their repository's.",
    "Pin.suite": "Only versions of this suite, by its name or codename.",
    "Pin.repository": "Only versions of the repository with this name.",
}
