"""A program that runs a SavedModel by TensorFlow's C interface, as TensorFlow Serving does: no Python of TensorFlow.

python -I -S run_c_api.py LIBRARY SITE_PACKAGES SAVED_MODEL CALLS ANSWERS, where CALLS is a pickled list of (inputs,
outputs): dict of tensor name -> array, and list of tensor names. ANSWERS is a list of lists of arrays, or of a text:
the message of the status.
"""

import ctypes
import pickle
import sys

library, site_packages, folder, calls, answers = sys.argv[1:]
sys.path.append(site_packages)

import numpy as np  # noqa: E402

TYPES = {1: np.float32, 3: np.int32, 4: np.uint8, 7: object}  # of TF_DataType
STRING = 24  # bytes of a TF_TString
tf = ctypes.CDLL(library)
for (
    name
) in "NewStatus NewGraph NewSessionOptions LoadSessionFromSavedModel GraphOperationByName AllocateTensor".split():
    getattr(tf, f"TF_{name}").restype = ctypes.c_void_p
for name in "TensorData StringGetDataPointer".split():
    getattr(tf, f"TF_{name}").restype = ctypes.c_void_p
for name in "Dim StringGetSize TensorByteSize".split():
    getattr(tf, f"TF_{name}").restype = ctypes.c_size_t
tf.TF_Message.restype = ctypes.c_char_p


class Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def pointer(value):
    return ctypes.c_void_p(value)


status, graph = pointer(tf.TF_NewStatus()), pointer(tf.TF_NewGraph())


def message():
    return tf.TF_Message(status).decode() if tf.TF_GetCode(status) else ""


def outputs(names):
    pairs = [name.split(":") for name in names]
    found = [Output(tf.TF_GraphOperationByName(graph, name.encode()), int(index)) for name, index in pairs]
    assert all(each.operation for each in found), names
    return (Output * len(found))(*found)


def tensor(array):
    kind = next(number for number, dtype in TYPES.items() if array.dtype == dtype)
    dims = (ctypes.c_int64 * array.ndim)(*array.shape)
    size = array.size * STRING if kind == 7 else array.nbytes
    made = tf.TF_AllocateTensor(kind, dims, array.ndim, ctypes.c_size_t(size))
    data = tf.TF_TensorData(pointer(made))
    if kind != 7:
        ctypes.memmove(data, np.ascontiguousarray(array).ctypes.data, size)
        return made
    for number, text in enumerate(array.ravel()):
        tf.TF_StringInit(pointer(data + STRING * number))
        tf.TF_StringCopy(pointer(data + STRING * number), text, ctypes.c_size_t(len(text)))
    return made


def array(made):
    made = pointer(made)
    kind, data = TYPES[tf.TF_TensorType(made)], tf.TF_TensorData(made)
    shape = [tf.TF_Dim(made, axis) for axis in range(tf.TF_NumDims(made))]
    if kind is not object:
        return np.frombuffer(ctypes.string_at(data, tf.TF_TensorByteSize(made)), kind).reshape(shape)
    places = [pointer(data + STRING * number) for number in range(int(np.prod(shape)))]
    texts = [ctypes.string_at(tf.TF_StringGetDataPointer(each), tf.TF_StringGetSize(each)) for each in places]
    return np.array(texts, object).reshape(shape)


def run(session, inputs, names):
    """The outputs; or the message of the status in a list, as a text."""
    fed, wanted = outputs(inputs), outputs(names)
    values = (ctypes.c_void_p * len(inputs))(*map(tensor, inputs.values()))
    results = (ctypes.c_void_p * len(names))()
    sizes = ctypes.c_int(len(inputs)), ctypes.c_int(len(names))
    tf.TF_SessionRun(session, None, fed, values, sizes[0], wanted, results, sizes[1], None, 0, None, status)
    for value in values:
        tf.TF_DeleteTensor(pointer(value))
    return [message()] if message() else [array(result) for result in results]


tags = (ctypes.c_char_p * 1)(b"serve")
options = pointer(tf.TF_NewSessionOptions())
loaded = tf.TF_LoadSessionFromSavedModel(options, None, folder.encode(), tags, 1, graph, None, status)
assert not message(), message()
with open(calls, "rb") as file:
    found = [run(pointer(loaded), *call) for call in pickle.load(file)]
assert "tensorflow" not in sys.modules
with open(answers, "wb") as file:
    pickle.dump(found, file)
