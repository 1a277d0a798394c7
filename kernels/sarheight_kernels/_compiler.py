"""Numba's compiler with arrays that are borrowed, and with functions that only kernels hold.

**Borrowed arrays.** Numba would count, at each call of a function from another, one reference more
and one less of every array that it is passed, tables of the models included, in atomic operations
that took up to a fifth of a kernel's time, and half of it where functions are not optimised before
they are inlined, as below. The caller holds its arrays until the call returns, so a function that
returns none of them has nothing to count (`_BorrowingLower`).

**Inner functions.** A kernel holds the code of all functions that it calls: LLVM makes one module
of them, inlines and optimises it, and turns it into machine code. Numba does the same for each of
these functions before, with all that it calls in turn, so what lies seven calls deep would be
optimised eight times. An `_InnerLibrary` is neither optimised nor turned into machine code: that
happens in the kernels that hold it.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, codegen, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder, compile_result
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import BaseNativeLowering, NativeLowering

__all__ = ["BorrowingCompiler", "InnerCompiler", "rebuild"]

_TUPLE: Any = types.BaseTuple


def _borrowed(lower: Any, kind: Any, value: Any) -> Any:  # noqa: ANN401
    """Take the owners of memory, whose references are counted, out of an argument."""
    if isinstance(kind, types.Array):
        array = lower.context.make_array(kind)(lower.context, lower.builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()  # noqa: SLF001  # how Numba's own code reads it
    if isinstance(kind, _TUPLE):
        parts = cgutils.unpack_tuple(lower.builder, value, len(kind))
        for place, (part_kind, part) in enumerate(zip(kind, parts, strict=True)):
            element = _borrowed(lower, part_kind, part)
            value = lower.builder.insert_value(value, element, place)
    return value


def _is_number(kind: Any) -> bool:  # noqa: ANN401
    """Tell whether a type is that of a number, of nothing, or of a tuple of these."""
    if isinstance(kind, _TUPLE):
        return all(_is_number(part) for part in kind)
    return isinstance(kind, (types.Number, types.Boolean, types.NoneType))


class _BorrowingLower(Lower):
    """A translation of functions to LLVM that borrows arrays where a function returns none."""

    def extract_function_arguments(self) -> Any:  # noqa: ANN401
        """Read the arguments of the function."""
        lower: Any = super()
        arguments = lower.extract_function_arguments()
        if _is_number(self.fndesc.restype):
            kinds = self.fndesc.argtypes
            pairs = zip(kinds, arguments, strict=True)
            self.fnargs = [_borrowed(self, kind, value) for kind, value in pairs]
        return self.fnargs


@register_pass(mutates_CFG=True, analysis_only=False)
class _BorrowingLowering(BaseNativeLowering):
    """The step of compilation that translates to LLVM."""

    _name: Any = "sarheight_lowering"
    lowering_class = _BorrowingLower


class BorrowingCompiler(CompilerBase):
    """A compiler with the steps of Numba's, but with arrays that are borrowed."""

    lowering: Any = _BorrowingLowering

    def define_pipelines(self) -> list[Any]:
        """List the steps."""
        steps: Any = DefaultPassBuilder.define_nopython_pipeline(self.state)
        place = [step for step, _ in steps.passes].index(NativeLowering)
        steps.passes[place] = (self.lowering, "lowering with borrowed arrays")
        steps.finalize()
        return [steps]


class _InnerLibrary(codegen.JITCodeLibrary):
    """The code of a function that kernels call, in LLVM's language."""

    @property
    def codegen(self) -> Any:  # noqa: ANN401
        """Whom Numba tells the environment of a function: nobody, see `set_env`."""
        return self

    def set_env(self, name: str, environment: Any) -> None:  # noqa: ANN401
        """Keep no environment, as only machine code has one."""

    def get_pointer_to_function(self, name: str) -> int:  # noqa: ARG002
        """Return that there is no machine code."""
        return 0

    def _optimize_final_module(self) -> None:
        """Leave it to the kernels."""

    def _finalize_final_module(self) -> None:
        """Say that the code is complete."""
        library: Any = self
        library._finalize_dynamic_globals()  # noqa: SLF001  # of its own
        self._finalized = True

    def serialize_using_object_code(self) -> tuple[str, str, bytes]:
        """Return what is saved."""
        library: Any = self
        return library.name, "bitcode", library._get_module_for_linking().as_bitcode()  # noqa: SLF001

    def read(self, code: bytes) -> None:
        """Take the code from what was saved."""
        llvm: Any = codegen.ll  # type: ignore[attr-defined]  # as Numba imports llvmlite
        self._final_module = self._shared_module = llvm.parse_bitcode(code)
        self._finalize_final_module()


@register_pass(mutates_CFG=True, analysis_only=False)
class _InnerLowering(_BorrowingLowering):
    """The translation to LLVM of a function that kernels call."""

    _name: Any = "sarheight_inner_lowering"

    def run_pass(self, state: Any) -> Any:  # noqa: ANN401
        """Translate."""
        make: Any = _InnerLibrary
        state.library = make(state.targetctx.codegen(), state.func_id.func_qualname)
        step: Any = super()
        return step.run_pass(state)


class InnerCompiler(BorrowingCompiler):
    """A compiler of functions that kernels call."""

    lowering = _InnerLowering


def rebuild(target_context: Any, payload: Any) -> Any:  # noqa: ANN401
    """Make a compiled function of what was saved of one of `InnerCompiler`."""
    (name, _, code), fndesc, environment, signature, objectmode, lifted, types_text, *rest = payload
    make: Any = _InnerLibrary
    library = make(target_context.codegen(), name)
    library.read(code)
    reload_init, referenced = rest
    for function in reload_init:
        function()
    return compile_result(
        target_context=target_context,
        typing_context=target_context.typing_context,
        library=library,
        environment=environment,
        entry_point=target_context.get_executable(library, fndesc, environment),
        fndesc=fndesc,
        type_annotation=types_text,
        signature=signature,
        objectmode=objectmode,
        lifted=lifted,
        reload_init=reload_init,
        referenced_envs=referenced,
    )
