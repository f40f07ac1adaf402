"""What `kubectl explain` says of the fields that every object has, in own words; of all others it says the type only.

Their first words are the field's as in upstream's documents, which is where clients and upstream's own suite look for them.
"""

from __future__ import annotations

METADATA = "Standard object's metadata: what the API itself keeps of an object."
OBJECT_META = {
    "annotations": "Annotations are a map of strings for tools; nothing can be selected by them.",
    "creationTimestamp": "CreationTimestamp is a timestamp that the server sets when the object is made.",
    "deletionGracePeriodSeconds": "DeletionGracePeriodSeconds are the seconds that the object has for its end. Set by the server.",
    "deletionTimestamp": "DeletionTimestamp is when the object is to be gone. A deletion that has to wait sets it.",
    "finalizers": "Finalizers name who must have finished with a deleted object before it goes; each takes its own name out.",
    "generateName": "GenerateName is what the server begins a name with when none is given; it adds random letters.",
    "generation": "Generation is a number that the server raises with every change of what is wanted.",
    "labels": "Labels are a map of strings by which objects are selected.",
    "managedFields": "ManagedFields say who set which fields, and by which version. Kept by the server for server-side apply.",
    "name": "Name is unique among the objects of a kind in a namespace, and never changes.",
    "namespace": "Namespace is the room in which the name is unique; empty for kinds of the whole cluster.",
    "ownerReferences": "OwnerReferences name the objects that this one belongs to: when all of them are gone, it is deleted.",
    "resourceVersion": "ResourceVersion names this state of the object. A change that names it fails if the state is another.",
    "selfLink": "SelfLink is of old and is not set any more.",
    "uid": "UID is unique in time and space: an object of the same name made later has another.",
}
