"""Loading of a saved adapter on its base model, which the adapter or the user names."""

import importlib
import json
import logging
import pickle
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
from huggingface_hub import hf_hub_download
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME, load_peft_weights
from safetensors import SafetensorError, safe_open
from torch import nn

from .export import PREFIX, State
from .paths import PIPELINE_FILE, check_adapter, check_base
from .tuner import install

LIBRARIES = ("transformers", "diffusers")  # the libraries whose classes an adapter may name
AUTO_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "FEATURE_EXTRACTION": "AutoModel",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
}
LABELS = re.compile(r"\.(?:classifier|score)(?:\.out_proj)?\.weight$")  # its rows are the labels


@dataclass
class Base:
    """A base model: its class, its folder or name on the Hub and, if it is in a diffusers pipeline, its name there."""

    cls: Any  # a class of transformers or diffusers with `from_pretrained`
    path: str
    revision: str | None = None
    pipeline: bool = False  # `path` is the pipeline, not the component
    component: str | None = None

    def load(self, **options: Any) -> tuple[nn.Module, set[str]]:
        """Load the base model. Returns it and the names of the weights that its files lack."""
        if self.pipeline:
            options["subfolder"] = self.component
        try:
            with quiet():
                model, info = self.cls.from_pretrained(
                    self.path, revision=self.revision, output_loading_info=True, **options
                )
        except SafetensorError as error:
            raise damaged(self.path, error) from error
        return model, set(info["missing_keys"])


def damaged(path: str | Path, error: Exception) -> ValueError:
    """Return the error of a file of tensors that cannot be read, or of the first such file in a model's folder."""
    for file in sorted(Path(path).rglob("*.safetensors"), reverse=True):
        try:
            safe_open(file, "pt")
        except SafetensorError:
            path = file
    return ValueError(f"{path}: expected tensors, found a truncated or corrupted file ({error}). Copy it again.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' report of weights that the base model lacks: the adapter may have them."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_config(adapter: str) -> Any:
    """Read an adapter's PeftConfig. Raises ValueError if it has none, or one that PEFT or this package misreads."""
    check_adapter(adapter)
    install()  # for `config.HRAConfig`, which has more options than PEFT's
    try:
        return PeftConfig.from_pretrained(adapter)
    except KeyError as error:
        raise ValueError(
            f"{adapter}: expected a `peft_type` that PEFT {peft.__version__} has, found {error.args[0]!r}. Correct "
            f"{CONFIG_NAME}, or install a version of PEFT that has this type."
        ) from error
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{adapter}: expected a PEFT configuration as {CONFIG_NAME}, found none ({error}). Correct the path, or "
            "copy or download it again."
        ) from error


def read_weights(adapter: str, finite: bool = True) -> State:
    """Read an adapter's tensors.

    Raises ValueError if it has no file of tensors or a damaged one and, if `finite`, for NaN or infinity.
    """
    names = SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME
    files = [one for name in names if (one := Path(adapter) / name).is_file()]
    if Path(adapter).is_dir() and not files:
        raise ValueError(f"{adapter}: expected {' or '.join(names)}, found neither. Copy or download it again.")
    path: str | Path = files[0] if files else adapter  # the file that PEFT reads
    try:
        weights = load_peft_weights(adapter, device="cpu")
    except pickle.UnpicklingError:  # its own message advises executing the file's contents
        raise ValueError(
            f"{path}: expected tensors, found other objects, which could execute code; they were not loaded. Use a "
            ".safetensors file."
        ) from None
    except Exception as error:  # corrupted files make torch raise struct.error, KeyError, UnicodeDecodeError, …
        if not files:  # of the Hub
            raise
        raise damaged(path, error) from error
    for name, tensor in weights.items() if finite else ():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: expected finite numbers, found NaN or infinity in {name}. Train it again.")
    return weights


def find_base(adapter: str, base: str | None) -> Base:
    """Find an adapter's base model: the one that it names, or `base`, which may be a diffusers pipeline.

    Raises ValueError if the adapter does not name its base model's class in transformers or diffusers, if neither it
    nor `base` names the base model, if that does not exist, and if it is itself an adapter.
    """
    config = read_config(adapter)
    if config.task_type in AUTO_CLASSES:
        cls = getattr(importlib.import_module("transformers"), AUTO_CLASSES[config.task_type])
    elif config.auto_mapping:
        cls = model_class(adapter, config.auto_mapping["parent_library"], config.auto_mapping["base_model_class"])
    else:
        raise ValueError(
            f"{adapter} does not name its base model's class: load the model in Python, then call hra.to_lora(model)"
        )
    path = base or config.base_model_name_or_path
    if not path:
        raise ValueError(
            f"pass --base FOLDER, the base model's folder or name on the Hugging Face Hub: {CONFIG_NAME} of {adapter} "
            "does not name its base model"
        )
    revision = None if base else config.revision
    check_base(path, "Correct" if base else "Pass its folder as")
    if config.task_type in AUTO_CLASSES:
        return Base(cls, path, revision)
    if index := pipeline_index(path, revision):
        return Base(cls, path, revision, pipeline=True, component=component_of(index, path, cls))
    folder = Path(path).resolve()
    in_pipeline = folder.is_dir() and (folder.parent / PIPELINE_FILE).is_file()
    return Base(cls, path, revision, component=folder.name if in_pipeline else None)


def model_class(adapter: str, library: str, name: str) -> type[nn.Module]:
    """Look up the model class named in an adapter_config.json; only transformers and diffusers are imported."""
    found = None
    if library.partition(".")[0] in LIBRARIES:
        found = getattr(importlib.import_module(library), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(
            f"{adapter}: expected adapter_config.json to name a model class of {' or '.join(LIBRARIES)}, found "
            f"{library}.{name}. Load the model in Python, then call hra.to_lora(model) or model.merge_and_unload()"
        )
    return found


def pipeline_index(path: str, revision: str | None = None) -> Path | None:
    """Find the file that lists a diffusers pipeline's components, in a folder or on the Hub; None: not a pipeline."""
    if Path(path).is_dir():
        index = Path(path) / PIPELINE_FILE
        return index if index.is_file() else None
    try:
        return Path(hf_hub_download(path, PIPELINE_FILE, revision=revision))
    except (OSError, ValueError):
        return None


def component_of(index: Path, pipeline: str, cls: type[nn.Module]) -> str:
    """Find the pipeline's only component of this class. Raises ValueError if it has none or several."""
    parts = json.loads(index.read_text())
    found = [name for name, part in parts.items() if isinstance(part, list) and part[-1] == cls.__name__]
    if len(found) != 1:
        raise ValueError(
            f"{pipeline}: expected a pipeline with one {cls.__name__}, found {', '.join(found) or 'none'}. Pass the "
            "component's folder as --base."
        )
    return found[0]


def load(adapter: str, base: Base) -> tuple[PeftModel, State]:
    """Load an adapter into this package's layers, on its base model.

    Returns the model, and the tensors of `modules_to_save`, by key, that the base model's class has no module for, such
    as a hint encoder that a training script adds to the model. Warns on stderr of weights that neither the base model
    nor the adapter has. Raises ValueError if the adapter does not fit the base model, lacks tensors for it or has
    unexpected ones, if a file is damaged, and for NaN or infinity in the adapter.
    """
    saved = read_weights(adapter)
    labels = [len(tensor) for key, tensor in saved.items() if LABELS.search(key)]
    model, missing = base.load(**{"num_labels": labels[0]} if labels else {})
    if lacking := sorted(name for name in missing if PREFIX + name not in saved):
        print(
            f"warning: neither {base.path} nor {adapter} has weights for {', '.join(lacking)}: they are randomly "
            "initialised",
            file=sys.stderr,
        )
    try:
        with warnings.catch_warnings():
            # PEFT 0.21 reads this property of transformers, which 5.24 renamed: nothing that the user can change.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted = PeftModel.from_pretrained(model, adapter)
        # Embeddings are optional: PEFT also writes them with an adapter of the output layer.
        lost = sorted(get_peft_model_state_dict(adapted, save_embedding_layers=False).keys() - saved.keys())
    except RuntimeError as error:  # shapes
        raise ValueError(f"{adapter} does not fit {base.path}: {error} Correct --base.") from error
    except KeyError as error:  # of `modules_to_save`
        lost = [error.args[0]]
    if lost:
        raise ValueError(
            f"{adapter}: expected the tensors of an adapter of {base.path}, found no {lost[0]}"
            f"{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}. Copy or download it again, or correct --base."
        )
    return adapted, left_out(adapted, adapter, saved)


def left_out(model: PeftModel, adapter: str, saved: State) -> State:
    """Return the tensors of `modules_to_save` that the model has no module for. Raises ValueError for any others."""
    known = get_peft_model_state_dict(model)
    state = {key: one for key, one in saved.items() if key not in known}
    wanted = getattr(model.peft_config["default"], "modules_to_save", None) or []
    for key in state:
        if not any(f".{name}." in key for name in wanted):
            raise ValueError(
                f"{adapter} does not match {type(model.get_base_model()).__name__}, which has no {key}. Correct --base."
            )
    return state
