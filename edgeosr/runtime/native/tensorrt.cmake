# libedgeosr_tensorrt.so, the plug-in that runs engines: compiled against the headers of TensorRT and CUDA,
# and linked with neither.
if(NOT EDGEOSR_TENSORRT)
  return()
endif()
find_path(EDGEOSR_TENSORRT_INCLUDE NvInferRuntime.h PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE})
find_path(EDGEOSR_CUDA_INCLUDE cuda.h PATHS /usr/local/cuda/include)
# Those that were named are not looked into by find_path.
foreach(named EDGEOSR_TENSORRT_INCLUDE/NvInferRuntime.h EDGEOSR_CUDA_INCLUDE/cuda.h)
  get_filename_component(place ${named} DIRECTORY)
  get_filename_component(header ${named} NAME)
  if(${place} AND NOT EXISTS ${${place}}/${header})
    message(FATAL_ERROR "${place} must be the folder of ${header}; got ${${place}}, which has none "
      "(NvInferRuntime.h: JetPack has it in /usr/include/aarch64-linux-gnu)")
  endif()
endforeach()
# The fused kernel's host side: kernels/ of a checkout, or edgeosr/kernels of an installed package.
find_path(EDGEOSR_KERNELS src/params.cuh NO_DEFAULT_PATH
  PATHS ${CMAKE_CURRENT_SOURCE_DIR}/../../../kernels ${CMAKE_CURRENT_SOURCE_DIR}/../../kernels)
foreach(place EDGEOSR_TENSORRT_INCLUDE EDGEOSR_CUDA_INCLUDE EDGEOSR_KERNELS)
  if(NOT ${place})
    if(EDGEOSR_TENSORRT STREQUAL "AUTO")
      message(STATUS "libedgeosr without its plug-in for TensorRT: ${place} was not found")
      return()
    endif()
    message(FATAL_ERROR "the plug-in for TensorRT needs ${place}: -D${place}=FOLDER "
      "(NvInferRuntime.h: JetPack has it in /usr/include/aarch64-linux-gnu)")
  endif()
endforeach()

message(STATUS "libedgeosr with its plug-in for TensorRT: headers of ${EDGEOSR_TENSORRT_INCLUDE}")

# As edgeosr.kernels.build.sources says it: what a build of the kernel must have been made from. An edited, new
# or removed one makes CMake take it anew.
file(GLOB kernel_sources CONFIGURE_DEPENDS ${EDGEOSR_KERNELS}/src/fused_score.cu ${EDGEOSR_KERNELS}/src/*.cuh)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${kernel_sources})
execute_process(COMMAND sh -c
  "cat fused_score.cu && for name in $(LC_ALL=C ls *.cuh); do printf '\\0%s\\0' $name && cat $name; done"
  COMMAND sha256sum WORKING_DIRECTORY ${EDGEOSR_KERNELS}/src OUTPUT_VARIABLE digest
  COMMAND_ERROR_IS_FATAL ANY)
string(SUBSTRING "${digest}" 0 64 digest)

file(GLOB plugin CONFIGURE_DEPENDS tensorrt/*.cpp)
foreach(name base/failure base/file base/sha256 bundle/json_node bundle/json_parser bundle/npz bundle/unicode
    scoring/scorer scoring/scorer_checks)
  list(APPEND plugin src/${name}.cpp)
endforeach()
add_library(edgeosr_tensorrt MODULE ${plugin})
set(seen ${CMAKE_CURRENT_SOURCE_DIR}/tensorrt/libedgeosr_tensorrt.map)
set_target_properties(edgeosr_tensorrt PROPERTIES OUTPUT_NAME edgeosr_tensorrt
  CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON LINK_DEPENDS ${seen})
target_compile_definitions(edgeosr_tensorrt PRIVATE EDGEOSR_VERSION="${PROJECT_VERSION}"
  EDGEOSR_KERNEL_SOURCE="${digest}")
target_compile_options(edgeosr_tensorrt PRIVATE -Wall -Wextra)
target_include_directories(edgeosr_tensorrt PRIVATE include src tensorrt ${EDGEOSR_KERNELS}/include
  ${EDGEOSR_KERNELS}/src)
target_include_directories(edgeosr_tensorrt SYSTEM PRIVATE ${EDGEOSR_TENSORRT_INCLUDE} ${EDGEOSR_CUDA_INCLUDE})
target_link_libraries(edgeosr_tensorrt PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(edgeosr_tensorrt PRIVATE -Wl,--version-script=${seen} -Wl,--as-needed)

# Beside libedgeosr, which looks there; with the builds of the kernel, if they were made.
install(TARGETS edgeosr_tensorrt LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(EXISTS ${EDGEOSR_KERNELS}/cubins/source.sha256)
  install(DIRECTORY ${EDGEOSR_KERNELS}/cubins DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
